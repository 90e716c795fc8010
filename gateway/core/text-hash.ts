/**
 * A number for a text, the same for the same text. V8 looks every new string up in its table of all before a `Map` may
 * compare it, most of a microsecond where many are in use; a number needs no such thing. Others may share it: whoever
 * finds something by it has to compare the texts.
 *
 * @param from, to what part of the text counts
 */
export function hashText(text: string, from = 0, to = text.length): number {
  let key = 0
  for (let i = from; i < to; i++) key = (Math.imul(key, 31) + text.charCodeAt(i)) | 0
  return key
}
