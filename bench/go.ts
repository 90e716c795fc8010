import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'

/** Debian's packages of Go libraries install sources here, for builds without modules and without a download. */
const GOPATH = '/usr/share/gocode'
const LIBRARIES = ['github.com/golang-jwt/jwt', 'github.com/jackc/pgx/v4']

const SOURCE = new URL('contenders/services/go-reverse-proxy/main.go', import.meta.url).pathname

export const GO_PACKAGES = 'golang-go, golang-github-golang-jwt-jwt-dev and golang-github-jackc-pgx-v4-dev'

export function hasGoLibraries(): boolean {
  return LIBRARIES.every((library) => existsSync(join(GOPATH, 'src', library)))
}

/** Builds the Go contender into `folder`, unless it is there already. @returns its file */
export async function buildGoProxy(folder: string): Promise<string> {
  const file = join(folder, 'go-reverse-proxy')
  if (!existsSync(file)) {
    await promisify(execFile)('go', ['build', '-o', file, SOURCE], {
      env: {
        PATH: process.env.PATH,
        HOME: process.env.HOME,
        GO111MODULE: 'off',
        GOPATH,
        // With it the resolver of net would need a C compiler.
        CGO_ENABLED: '0',
      },
    })
  }
  return file
}
