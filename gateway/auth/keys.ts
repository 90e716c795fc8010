/** Where the key comes from that tokens are verified with. */
export type KeySource =
  | { readonly kind: 'secret'; readonly secret: string }
  | { readonly kind: 'secret-file'; readonly path: string }
  | { readonly kind: 'public-key-file'; readonly path: string }
  | { readonly kind: 'jwks-url'; readonly url: string }
