import { instantiateLlhttp, type LlhttpExports } from './llhttp.ts'
import { TokenSpans } from './token-spans.ts'

/**
 * What is copied into llhttp's memory at a time while a head is read: nearly every head, and of a body behind it
 * not much that llhttp is not to read.
 */
export const HEAD_PIECE = 8 * 1024

/** The same for a chunked body: what Node reads from a socket at a time. */
export const BODY_PIECE = 64 * 1024

/** llhttp in one WebAssembly memory with one buffer that the pieces of all connections pass through. */
export class Engine {
  readonly spans = new TokenSpans()
  /** Where the piece being parsed begins in llhttp's memory. */
  readonly address: number
  readonly #llhttp: LlhttpExports
  /** Names of methods by llhttp's number. */
  readonly #methods: string[] = []
  #buffer: Uint8Array

  /** @throws LlhttpError where the build lacks what is needed */
  constructor() {
    this.#llhttp = instantiateLlhttp(this.spans.callbacks())
    this.address = this.#llhttp.malloc(BODY_PIECE)
    this.#buffer = this.#view()
  }

  /** @returns the address of a new parser */
  allocate(type: number): number {
    const parser = this.#llhttp.llhttp_alloc(type)
    // An allocation may have grown the memory, and then the view is of memory that is gone.
    if (this.#buffer.length === 0) this.#buffer = this.#view()
    return parser
  }

  free(parser: number): void {
    this.#llhttp.llhttp_free(parser)
  }

  reset(parser: number): void {
    this.#llhttp.llhttp_reset(parser)
  }

  resume(parser: number): void {
    this.#llhttp.llhttp_resume(parser)
  }

  /** Parses `chunk` from `from` to `to`, at most `BODY_PIECE` bytes. @returns an error code of llhttp */
  execute(parser: number, chunk: Buffer, from: number, to: number): number {
    this.#buffer.set(from === 0 && to === chunk.length ? chunk : chunk.subarray(from, to))
    return this.#llhttp.llhttp_execute(parser, this.address, to - from)
  }

  /** How many bytes of the piece were parsed when the last `execute` ended with an error. */
  parsed(parser: number): number {
    return this.#llhttp.llhttp_get_error_pos(parser) - this.address
  }

  /** The method of the request whose head was parsed. */
  method(parser: number): string {
    const method = this.#llhttp.llhttp_get_method(parser)
    this.#methods[method] ??= this.#textAt(this.#llhttp.llhttp_method_name(method))
    return this.#methods[method]
  }

  /** Whether another message may follow the chunked one that was parsed: `Connection` counts in trailers too. */
  keepsAlive(parser: number): boolean {
    return this.#llhttp.llhttp_should_keep_alive(parser) === 1
  }

  reason(parser: number): string {
    return this.#textAt(this.#llhttp.llhttp_get_error_reason(parser))
  }

  errorName(code: number): string {
    return this.#textAt(this.#llhttp.llhttp_errno_name(code))
  }

  #view(): Uint8Array {
    return new Uint8Array(this.#llhttp.memory.buffer, this.address, BODY_PIECE)
  }

  #textAt(address: number): string {
    if (address === 0) return ''
    const bytes = Buffer.from(this.#llhttp.memory.buffer)
    return bytes.toString('latin1', address, bytes.indexOf(0, address))
  }
}
