import { KeyError } from './key-error.ts'

const UTF8_BYTE_ORDER_MARK = Buffer.from([0xef, 0xbb, 0xbf])

/** The text of a file of public keys, without the byte order mark that editors on Windows write. @throws KeyError */
export function decodeText(content: Buffer, path: string): string {
  refuseUtf16(content, path)
  const marked = content.subarray(0, 3).equals(UTF8_BYTE_ORDER_MARK)
  return content.toString('utf8', marked ? 3 : 0)
}

/** @throws KeyError where every other byte is zero, as in UTF-16 of letters and digits */
export function refuseUtf16(content: Buffer, path: string): void {
  // An odd byte at the end can be a line break that was added as UTF-8.
  const pairs = Math.floor(content.length / 2)
  if (pairs < 2) return
  const zeros = [0, 0]
  for (let i = 0; i < pairs * 2; i++) if (content[i] === 0) zeros[i % 2]!++
  const [high, low] = [Math.max(...zeros), Math.min(...zeros)]
  // Three quarters are enough, because a name in another script may be among the letters.
  if (low === 0 && high >= pairs * 0.75) {
    throw new KeyError([
      `${path}: is a text in UTF-16; expected UTF-8 (write the file anew in that encoding)`,
    ])
  }
}
