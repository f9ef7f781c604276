// A small shop behind API Gateway: HTTP API, payload format 2.0.

const PRODUCTS = new Map([
  ['espresso', { id: 'espresso', name: 'Espresso, 1 kg', cents: 1890 }],
  ['filter', { id: 'filter', name: 'Filter coffee, 500 g', cents: 790 }],
  ['grinder', { id: 'grinder', name: 'Hand grinder', cents: 5900 }],
]);
const MAX_QUANTITY = 100;

class ClientError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const ROUTES = [
  ['GET', /^\/products$/, () => [...PRODUCTS.values()]],
  ['GET', /^\/products\/([^/]+)$/, (event, [id]) => product(decodeURIComponent(id))],
  ['POST', /^\/quotes$/, (event) => quote(json(event))],
];

exports.handler = async (event, context) => {
  const { method, path } = event.requestContext.http;
  try {
    const routes = ROUTES.filter(([, pattern]) => pattern.test(path));
    if (routes.length === 0) throw new ClientError(404, `there is nothing at ${path}`);
    const route = routes.find(([allowed]) => allowed === method);
    if (route === undefined) throw new ClientError(405, `${method} is not allowed at ${path}`);
    const [, pattern, respond] = route;
    return reply(200, respond(event, pattern.exec(path).slice(1)));
  } catch (error) {
    // Anything else is a mistake of ours: Lambda reports it, and API Gateway answers 500.
    if (!(error instanceof ClientError)) throw error;
    console.warn(`${method} ${path}: ${error.message}`);
    return reply(error.status, { message: error.message, requestId: context.awsRequestId });
  }
};

function product(id) {
  const found = PRODUCTS.get(id);
  if (found === undefined) throw new ClientError(404, `there is no product ${id}`);
  return found;
}

function quote({ items }) {
  if (!Array.isArray(items) || items.length === 0) throw new ClientError(422, '"items" must be a list of products');
  const lines = items.map(({ id, quantity }) => {
    if (!Number.isInteger(quantity) || quantity < 1 || quantity > MAX_QUANTITY) {
      throw new ClientError(422, `the quantity of ${id} must be a whole number from 1 to ${MAX_QUANTITY}`);
    }
    const { name, cents } = product(id);
    return { id, name, quantity, cents: cents * quantity };
  });
  return { lines, cents: lines.reduce((sum, line) => sum + line.cents, 0) };
}

function json({ body = '', isBase64Encoded = false }) {
  try {
    return JSON.parse(isBase64Encoded ? Buffer.from(body, 'base64').toString() : body);
  } catch {
    throw new ClientError(400, 'the body is not JSON');
  }
}

function reply(statusCode, body) {
  return { statusCode, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
}
