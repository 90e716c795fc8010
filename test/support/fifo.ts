import { execFileSync } from 'node:child_process'
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A pipe that is only read when the test reads it. */
export interface Fifo {
  /** For the process that writes. */
  readonly writeFd: number
  /** Takes what is there now. */
  read(): string
  /** The writer gets EPIPE from now on. */
  closeReader(): void
  close(): void
}

/** Child processes get socket pairs from Node; this is a pipe, as `a | b` makes it. */
export function openFifo(): Fifo {
  const folder = mkdtempSync(join(tmpdir(), 'gateway-fifo-'))
  const path = join(folder, 'out')
  execFileSync('mkfifo', [path])
  let readFd: number | null = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const writeFd = openSync(path, constants.O_WRONLY)
  const buffer = Buffer.alloc(65_536)
  const closeReader = () => {
    if (readFd !== null) closeSync(readFd)
    readFd = null
  }
  return {
    writeFd,
    read() {
      let text = ''
      try {
        for (;;) {
          const bytes = readSync(readFd!, buffer)
          if (bytes === 0) return text
          text += buffer.toString('latin1', 0, bytes)
        }
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
        return text
      }
    },
    closeReader,
    close() {
      closeReader()
      closeSync(writeFd)
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
