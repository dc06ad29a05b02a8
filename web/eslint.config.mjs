import tseslint from "typescript-eslint";

export default tseslint.config(
  { ignores: ["build/", "node_modules/", "src/schemas.ts"] },
  {
    files: ["**/*.ts"],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    rules: {
      "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true }],
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      // It would have `!`, which strict forbids.
      "@typescript-eslint/non-nullable-type-assertion-style": "off",
      // Node's runner awaits them itself.
      "@typescript-eslint/no-floating-promises": ["error", { allowForKnownSafeCalls: [{ from: "package", package: "node:test", name: "test" }] }],
    },
    languageOptions: { parserOptions: { project: ["tsconfig.json", "test/tsconfig.json"], tsconfigRootDir: import.meta.dirname } },
  },
);
