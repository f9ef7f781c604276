import tseslint from 'typescript-eslint';

export default tseslint.config(
  { ignores: ['dist/', 'images/', 'node_modules/', 'examples/', 'scripts/', 'eslint.config.js'] },
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: {
      parserOptions: { project: ['src/tsconfig.json', 'test/tsconfig.json', 'guest/runtimes/node/tsconfig.json'] },
    },
    rules: {
      // Numbers, enums of strings and the like read well in template strings.
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      // `() => reject(…)` is how promises and listeners are written here.
      '@typescript-eslint/no-confusing-void-expression': 'off',
    },
  },
  {
    // Titles of tests are promises nobody awaits.
    files: ['test/**', 'bench/**'],
    rules: { '@typescript-eslint/no-floating-promises': 'off' },
  },
);
