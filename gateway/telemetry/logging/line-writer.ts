import { fstatSync } from 'node:fs'
import type { Writable } from 'node:stream'
import pino from 'pino'
import type { Scheduler } from '../../core/scheduler.ts'

/** Takes log lines. It never blocks the event loop, and never keeps more than its bound in memory. */
export interface LineWriter {
  /** @param line including its line feed */
  write(line: string): void
  /** How many lines were dropped so far. */
  readonly dropped: number
  /** Writes the waiting lines, within a second. Never rejects. */
  close(): Promise<void>
}

export interface LineWriterOptions {
  readonly stdout: Writable & { readonly fd?: number }
  readonly scheduler: Scheduler
  /** How many bytes may wait for a slow reader before lines are dropped. */
  readonly maxWaitingBytes?: number
  /** Called when lines are read again. @param lines how many were dropped meanwhile */
  readonly onResume: (lines: number) => void
}

const MAX_WAITING_BYTES = 16 * 1024 * 1024

/**
 * Several processes may share the pipe. POSIX guarantees that writes of up to PIPE_BUF bytes are not interleaved; on Linux
 * that is 4096.
 */
const PIPE_BUF = 4096

/** Lines for a file are written together, since each write costs a turn of the thread pool. */
const FILE_WRITE_BYTES = 12 * 1024

/** How long a line waits for others that are written with it, in milliseconds. */
const WRITE_DELAY_MS = 10

/** How long closing waits for the reader. */
const CLOSE_TIMEOUT_MS = 1000

/** Files are written by the thread pool; pipes and sockets as fast as they are read. */
export function createLineWriter(options: LineWriterOptions): LineWriter {
  const { fd } = options.stdout
  return fd !== undefined && fstatSync(fd).isFile() ? toFile(fd, options) : toStream(options)
}

interface Chunk {
  text: string
  lines: number
  bytes: number
}

/** One chunk is written at a time: the stream would join several ones to a write that can be interleaved. */
function toStream(options: LineWriterOptions): LineWriter {
  const { stdout, scheduler, onResume, maxWaitingBytes = MAX_WAITING_BYTES } = options
  const queue: Chunk[] = []
  let next: Chunk = { text: '', lines: 0, bytes: 0 }
  let waiting = 0
  let dropped = 0
  let unreported = 0
  let writing = false
  let readerGone = false
  let sealScheduled = false
  let onIdle = () => {}

  stdout.on('error', () => {
    readerGone = true
    for (const chunk of queue.splice(0)) dropped += chunk.lines
    onIdle()
  })

  function seal(): void {
    if (next.lines === 0) return
    queue.push(next)
    next = { text: '', lines: 0, bytes: 0 }
    if (!writing) writeNext()
  }

  function writeNext(): void {
    const chunk = queue.shift()
    writing = chunk !== undefined
    if (chunk === undefined) {
      onIdle()
      return
    }
    stdout.write(chunk.text, (error) => {
      waiting -= chunk.bytes
      if (error) dropped += chunk.lines
      else reportDropped()
      if (!readerGone) writeNext()
    })
  }

  function reportDropped(): void {
    if (unreported === 0 || waiting > maxWaitingBytes / 2) return
    const lines = unreported
    unreported = 0
    onResume(lines)
  }

  function drop(): void {
    dropped++
    if (!readerGone) unreported++
  }

  return {
    write(line) {
      const bytes = Buffer.byteLength(line)
      if (readerGone || waiting + bytes > maxWaitingBytes) return drop()
      if (next.bytes + bytes > PIPE_BUF) seal()
      next.text += line
      next.lines++
      next.bytes += bytes
      waiting += bytes
      if (sealScheduled) return
      sealScheduled = true
      scheduler.after(WRITE_DELAY_MS, () => {
        sealScheduled = false
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
      if (!writing || readerGone) return
      const timer = setTimeout(idle.resolve, CLOSE_TIMEOUT_MS)
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
  let flushScheduled = false
  file.on('drop', () => dropped++)
  // On a full disk lines wait, and are dropped past the bound.
  file.on('error', () => {})

  return {
    write(line) {
      file.write(line)
      if (flushScheduled) return
      flushScheduled = true
      scheduler.after(WRITE_DELAY_MS, () => {
        flushScheduled = false
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
        // The file was not opened yet, or the disk is full; there is no place to report it.
      }
    },
  }
}
