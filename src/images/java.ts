/**
 * Runs in the builder and in `npm start`. The root file systems of Java: a version of Debian's OpenJDK, and AWS's runtime client from
 * Maven Central, which asks the Runtime API for events and calls the handler.
 */
import { mkdir, readdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { JAVA_VERSION } from '../protocol/runtimes.ts';
import { CERTIFICATES } from './certificates.ts';
import { downloadPackages, knownPackages, unpackPackages, versionsOf } from './debian.ts';
import { writeKeyStore } from './java-key-store.ts';
import { fetchArtifact, type Artifact } from './maven.ts';
import { FRAME_RECIPE, finishFrame, layFrame, placeFile, placeLink } from './runtimefs.ts';
import { listRuntimeApi, placeRuntimeApi, RUNTIME_API_RECIPE } from './runtime-api.ts';
import type { RuntimeImage } from './runtimes.ts';
import { ToolError } from './tool.ts';
import { finishUserland, resolveRoot, USERLAND_RECIPE, type RootPackages } from './userland.ts';

const AWS = 'com/amazonaws';
/** AWS's client and what it needs; with digests, as what is downloaded has no other proof. */
export const JAVA_CLIENT: readonly Artifact[] = [
  {
    group: AWS,
    name: 'aws-lambda-java-runtime-interface-client',
    version: '2.10.1',
    sha256: 'b0dd01f45b7258da0e32ade0bff950b12d0cf279ccebf416ad8c3795af21f1db',
  },
  {
    group: AWS,
    name: 'aws-lambda-java-core',
    version: '1.4.0',
    sha256: '575c24393cc1ad645e83e618956eabd89ffe8cc09efae2cb62bc6589154d68ed',
  },
  {
    group: AWS,
    name: 'aws-lambda-java-serialization',
    version: '1.2.0',
    sha256: '1513c1f945a3213f916a4b2de1760c97b51d84d110f82bbbcf9cfac53d5651e7',
  },
  {
    group: 'software/amazon/awssdk',
    name: 'utils-lite',
    version: '2.34.0',
    sha256: 'efaf784f07ae526f0b5c89d71ef21cf16636131c47d44616e3df9bedc3f4f89a',
  },
  {
    group: 'software/amazon/awssdk',
    name: 'annotations',
    version: '2.34.0',
    sha256: 'fafdcb55f4e5af603f5219f4a2b080aa0decb562a7c0944f7a7eca82dd47e487',
  },
];

const RUNTIME_PLACE = join('var', 'runtime');
/** The certificate authorities that Java trusts: a file of its own kind. */
const KEY_STORE = join('etc', 'ssl', 'certs', 'java', 'cacerts');
/**
 * Of the flags, the collector and the compiler are as on AWS. The rest of the memory is the system's, and Java's own beside its heap;
 * statistics in a file are read by tools that no guest has. `org.crac` is told whose hooks it stands for.
 */
const FLAGS = [
  '-XX:MaxRAMPercentage=65',
  '-XX:+UseSerialGC',
  '-XX:TieredStopAtLevel=1',
  '-XX:-UsePerfData',
  '-Dorg.crac.Core.Compat=com.amazonaws.services.lambda.crac',
];
const MAIN_CLASS = 'com.amazonaws.services.lambda.runtime.api.client.AWSLambda';

/** What the server of the Runtime API starts. */
function bootstrap(major: string): string {
  const command = ['/usr/bin/java', ...FLAGS, '-cp', `'/${RUNTIME_PLACE}/lib/*'`, MAIN_CLASS, '"$_HANDLER"'];
  return `#!/bin/sh\nexport AWS_EXECUTION_ENV=AWS_Lambda_java${major}\nexec $AWS_LAMBDA_EXEC_WRAPPER ${command.join(' ')}\n`;
}

function javaImage(major: string): RuntimeImage {
  const packages = [`openjdk-${major}-jre-headless`];
  const resolve = async (): Promise<RootPackages> => {
    if ((await knownPackages(packages)).length > 0) return resolveRoot(packages);
    const missing = `the release of Debian here has no ${packages.join()}, which Java ${major} is taken from`;
    throw new ToolError('apt-cache', `${missing}; name a runtime of another version of Java`);
  };
  return {
    recipe: {
      version: 1,
      frame: FRAME_RECIPE,
      userland: USERLAND_RECIPE,
      packages,
      client: JAVA_CLIENT,
      bootstrap: bootstrap(major),
      keyStore: KEY_STORE,
      runtimeApi: RUNTIME_API_RECIPE,
    },
    listFiles: listRuntimeApi,
    resolve,
    async fill(root, scratch, update) {
      update('downloading packages');
      const { unpacked } = await resolve();
      await layFrame(root);
      await unpackPackages(await downloadPackages(unpacked), root);
      const settings = join('etc', `java-${major}-openjdk`);
      await keeping(root, settings, scratch, () => finishFrame(root, RUNTIME_API_RECIPE.argv));
      await finishUserland(root);
      await placeJava(root, major);
      await placeRuntimeApi(root, scratch);
      update('downloading the runtime client');
      for (const artifact of JAVA_CLIENT) {
        await placeFile(root, join(RUNTIME_PLACE, 'lib', `${artifact.name}.jar`), await fetchArtifact(artifact), 0o644);
      }
      await placeFile(root, join(RUNTIME_PLACE, 'bootstrap'), Buffer.from(bootstrap(major)), 0o755);
      const versions = versionsOf(unpacked);
      return {
        ...versions,
        ...Object.fromEntries(JAVA_CLIENT.map(({ name, version }) => [`maven:${name}`, version])),
        [JAVA_VERSION]: versions[packages[0] ?? ''] ?? major,
      };
    },
  };
}

export const JAVA_IMAGES = { java17: javaImage('17'), java21: javaImage('21') } as const satisfies Readonly<
  Record<string, RuntimeImage>
>;

/** Java's own settings are no file of the system's: without them it does not start. */
async function keeping(root: string, path: string, scratch: string, work: () => Promise<void>): Promise<void> {
  const aside = join(scratch, 'kept');
  await rename(join(root, path), aside);
  await work();
  await rename(aside, join(root, path));
}

/** What Debian's maintainer scripts would have done. */
async function placeJava(root: string, major: string): Promise<void> {
  const home = join('/', 'usr', 'lib', 'jvm', `java-${major}-openjdk-amd64`);
  for (const program of ['java', 'keytool'])
    await placeLink(root, join('usr', 'bin', program), `${home}/bin/${program}`);
  const certificates = join(root, CERTIFICATES);
  const names = (await readdir(certificates)).filter((name) => name.endsWith('.pem')).sort();
  const texts: (readonly [alias: string, pem: string])[] = [];
  for (const name of names) texts.push([name, await readFile(join(certificates, name), 'latin1')]);
  await mkdir(dirname(join(root, KEY_STORE)), { recursive: true });
  await writeFile(join(root, KEY_STORE), writeKeyStore(texts));
}
