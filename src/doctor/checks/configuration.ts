/** Runs in `snapctr doctor`. Whether a controller would take the configuration. */
import { ok, problem, skipped, type Check } from '../check.ts';

export const configurationCheck: Check = {
  name: 'configuration',
  run({ subject: { configuration, functionCount } }) {
    if (configuration === null)
      return skipped('none given: the defaults of this project are examined (--config FILE takes yours)');
    const { file, problems } = configuration;
    if (problems.length === 0) return ok(`${file}, functions: ${functionCount}`);
    return problem(problems.join('; '), `correct ${file}; docs/config.md has every key`);
  },
};
