/**
 * A 32-bit hash of a text, as the key of a `Map`. With the text itself as the key V8 looks each new string up in its table
 * of all strings first, which costs most of a microsecond where many are in use. Different texts may have the same hash,
 * so the texts have to be compared too.
 *
 * @param from where the part of the text that counts begins
 * @param to where it ends
 */
export function hashText(text: string, from = 0, to = text.length): number {
  let hash = 0
  for (let i = from; i < to; i++) hash = (Math.imul(hash, 31) + text.charCodeAt(i)) | 0
  return hash
}
