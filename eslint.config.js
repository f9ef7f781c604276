import tseslint from 'typescript-eslint';

export default tseslint.config(
  {
    ignores: [
      'resources/templates/**',
      'dist/',
      'images/',
      'node_modules/',
      'examples/',
      'scripts/',
      'test/guest/fixtures/languages/',
      'bench/**/*.{js,cjs}',
      'eslint.config.js',
    ],
  },
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: {
      parserOptions: {
        project: [
          'src/tsconfig.json',
          'src/ui/tsconfig.json',
          'test/tsconfig.json',
          'guest/runtimes/node/tsconfig.json',
        ],
      },
    },
    rules: {
      // Numbers, enums of strings and the like read well in template strings.
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      // `() => reject(…)` is how promises and listeners are written here.
      '@typescript-eslint/no-confusing-void-expression': 'off',
    },
  },
  {
    // A CommonJS program without dependencies: `import x = require()` is its form of import.
    files: ['guest/runtimes/node/**'],
    rules: {
      '@typescript-eslint/no-require-imports': 'off',
      // Whatever a handler throws is passed on as it is, and its `name` or `message` may be of any type.
      '@typescript-eslint/prefer-promise-reject-errors': 'off',
      '@typescript-eslint/no-unnecessary-type-conversion': 'off',
      '@typescript-eslint/no-unnecessary-condition': 'off',
    },
  },
  {
    // `test(…)` is a promise nobody awaits; a bench of bound closures is taken apart freely.
    files: ['test/**', 'bench/**'],
    rules: { '@typescript-eslint/no-floating-promises': 'off', '@typescript-eslint/unbound-method': 'off' },
  },
);
