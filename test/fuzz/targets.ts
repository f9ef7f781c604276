/** All parsers of the host that are given bytes or text from outside. */
import { AUTH_TARGETS } from './parsers/auth.ts';
import { CONTROL_TARGETS } from './parsers/control.ts';
import { FIRERUNNER_TARGETS } from './parsers/firerunner.ts';
import { FUNCTION_CHANNEL } from './parsers/function-channel.ts';
import { GATEWAY_TARGETS } from './parsers/gateway.ts';
import { IMAGES_TARGETS } from './parsers/images.ts';
import { JOURNAL } from './parsers/journal.ts';
import { OCI_TARGETS } from './parsers/oci.ts';
import { PACKAGES_TARGETS } from './parsers/packages.ts';
import { PROTOCOL_TARGETS } from './parsers/protocol.ts';
import { STORAGE_TARGETS } from './parsers/storage.ts';
import { URL_TARGETS } from './parsers/urls.ts';
import type { ParserTarget } from './target.ts';

export const PARSER_TARGETS: readonly ParserTarget[] = [
  ...PROTOCOL_TARGETS,
  FUNCTION_CHANNEL,
  ...GATEWAY_TARGETS,
  ...URL_TARGETS,
  ...AUTH_TARGETS,
  ...CONTROL_TARGETS,
  ...FIRERUNNER_TARGETS,
  ...IMAGES_TARGETS,
  ...STORAGE_TARGETS,
  ...PACKAGES_TARGETS,
  ...OCI_TARGETS,
  JOURNAL,
];
