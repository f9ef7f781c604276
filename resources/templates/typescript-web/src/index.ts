/** A small web app: requests as function URLs and HTTP APIs of AWS send them, in format 2.0. */
import { page } from './page.ts';

interface Request {
  readonly rawPath?: string;
  readonly queryStringParameters?: Readonly<Record<string, string>>;
  readonly requestContext?: { readonly http?: { readonly method?: string } };
}

interface Response {
  readonly statusCode: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export const handler = async (request: Request): Promise<Response> => {
  const method = request.requestContext?.http?.method ?? 'GET';
  const path = request.rawPath ?? '/';
  switch (`${method} ${path}`) {
    case 'GET /':
      return html(200, page(request.queryStringParameters?.['name'] ?? 'world'));
    case 'GET /api/time':
      return { statusCode: 200, headers: { 'content-type': 'application/json' }, body: JSON.stringify(new Date()) };
    default:
      return html(404, page('nobody'));
  }
};

function html(statusCode: number, body: string): Response {
  return { statusCode, headers: { 'content-type': 'text/html; charset=utf-8' }, body };
}
