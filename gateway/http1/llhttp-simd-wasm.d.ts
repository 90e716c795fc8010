/** undici ships no types for this file: a WebAssembly module as bytes. */
declare module 'undici/lib/llhttp/llhttp_simd-wasm.js' {
  const bytes: Buffer<ArrayBuffer>
  export default bytes
}

/** What is used of WebAssembly. TypeScript has it among the browser's types alone, which this program leaves out. */
declare namespace WebAssembly {
  class Module {
    constructor(bytes: Uint8Array)
    static imports(module: Module): { readonly name: string }[]
  }
  class Instance {
    constructor(module: Module, imports: { env: Record<string, unknown> })
    readonly exports: object
  }
}
