import { fstatSync } from 'node:fs'
import type { Writable } from 'node:stream'
import pino from 'pino'
import type { Scheduler } from '../../core/scheduler.ts'

/** Where log lines go. Never blocks the event loop, never holds more than its bound. */
export interface LineWriter {
  /** @param line with its line feed */
  write(line: string): void
  /** Lines that nobody took so far. */
  readonly dropped: number
  /** Writes what waits, within a second. Never rejects. */
  close(): Promise<void>
}

export interface LineWriterOptions {
  readonly stdout: Writable & { readonly fd?: number }
  readonly scheduler: Scheduler
  /** Bytes that may wait for a stuck reader before lines are dropped rather than memory filled. */
  readonly maxWaitingBytes?: number
  /** It is read again. @param lines how many were dropped meanwhile */
  readonly onResume: (lines: number) => void
}

const MAX_WAITING_BYTES = 16 * 1024 * 1024

/**
 * Several processes may share the pipe, and POSIX promises that a write is not torn by another's only up to
 * PIPE_BUF, which is 4096 at least where there is no smaller limit than Linux's.
 */
const PIPE_BUF = 4096

/** One write for many lines of a file: each costs a turn of the thread pool, as much as making the line. */
const FILE_WRITE_BYTES = 12 * 1024

/** How long a line may wait for others to go with it. */
const WRITE_AFTER_MS = 10

const CLOSE_MS = 1000

/** Files are written by the thread pool, pipes and sockets as they take it. */
export function createLineWriter(options: LineWriterOptions): LineWriter {
  const { fd } = options.stdout
  return fd !== undefined && fstatSync(fd).isFile() ? toFile(fd, options) : toStream(options)
}

interface Chunk {
  readonly text: string
  readonly lines: number
  readonly bytes: number
}

/** One chunk is on its way at a time: together they would no longer be written at once. */
function toStream(options: LineWriterOptions): LineWriter {
  const { stdout, scheduler, onResume, maxWaitingBytes = MAX_WAITING_BYTES } = options
  const queue: Chunk[] = []
  let next: Chunk = { text: '', lines: 0, bytes: 0 }
  let waiting = 0
  let dropped = 0
  let untold = 0
  let writing = false
  let gone = false
  let closeAhead = false
  let onIdle = () => {}

  stdout.on('error', () => {
    gone = true
    for (const chunk of queue.splice(0)) dropped += chunk.lines
    onIdle()
  })

  function seal(): void {
    if (next.lines === 0) return
    queue.push(next)
    next = { text: '', lines: 0, bytes: 0 }
    if (!writing) writeOn()
  }

  function writeOn(): void {
    const chunk = queue.shift()
    writing = chunk !== undefined
    if (chunk === undefined) {
      onIdle()
      return
    }
    stdout.write(chunk.text, (error) => {
      waiting -= chunk.bytes
      if (error) dropped += chunk.lines
      else tellOnceRead()
      if (!gone) writeOn()
    })
  }

  function tellOnceRead(): void {
    if (untold === 0 || waiting > maxWaitingBytes / 2) return
    const lines = untold
    untold = 0
    onResume(lines)
  }

  function drop(): void {
    dropped++
    if (!gone) untold++
  }

  return {
    write(line) {
      const bytes = Buffer.byteLength(line)
      if (gone || waiting + bytes > maxWaitingBytes) return drop()
      if (next.bytes + bytes > PIPE_BUF) seal()
      next = { text: next.text + line, lines: next.lines + 1, bytes: next.bytes + bytes }
      waiting += bytes
      if (closeAhead) return
      closeAhead = true
      scheduler.after(WRITE_AFTER_MS, () => {
        closeAhead = false
        seal()
      })
    },
    get dropped() {
      return dropped
    },
    async close() {
      const idle = Promise.withResolvers<void>()
      onIdle = idle.resolve
      seal()
      if (!writing || gone) return
      const timer = setTimeout(idle.resolve, CLOSE_MS)
      await idle.promise
      clearTimeout(timer)
    },
  }
}

function toFile(fd: number, options: LineWriterOptions): LineWriter {
  const { scheduler, maxWaitingBytes = MAX_WAITING_BYTES } = options
  const file = pino.destination({
    dest: fd,
    sync: false,
    maxLength: maxWaitingBytes,
    minLength: FILE_WRITE_BYTES,
  })
  let dropped = 0
  let flushAhead = false
  file.on('drop', () => dropped++)
  // A full disk: lines wait, and are dropped past the bound.
  file.on('error', () => {})

  return {
    write(line) {
      file.write(line)
      if (flushAhead) return
      flushAhead = true
      scheduler.after(WRITE_AFTER_MS, () => {
        flushAhead = false
        file.flush()
      })
    },
    get dropped() {
      return dropped
    },
    async close() {
      try {
        file.flushSync()
      } catch {
        // Nothing was opened yet, or the disk is full: there is nobody to tell.
      }
    },
  }
}
