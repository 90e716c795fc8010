/** The sources that the gateway reads itself: the hosts file and name servers. */
const SOURCES_READ_HERE = new Set(['files', 'dns'])

/**
 * True where getaddrinfo may know names that are neither in the hosts file nor known to a name server. That is so where
 * `/etc/nsswitch.conf` lists further sources for hosts (mdns4, resolve, myhostname, ldap), and on macOS and Windows,
 * which do not have this file.
 *
 * @param text content of `/etc/nsswitch.conf`; null where the file is missing, as on Alpine, which has no such sources
 */
export function hasOtherSources(text: string | null, platform: NodeJS.Platform): boolean {
  if (platform === 'darwin' || platform === 'win32') return true
  const line = /^\s*hosts:(.*)$/m.exec(text ?? '')?.[1] ?? ''
  const sources = line
    .replace(/#.*/, '')
    .replace(/\[[^\]]*\]/g, ' ')
    .trim()
    .split(/\s+/)
  return sources.some((source) => source !== '' && !SOURCES_READ_HERE.has(source))
}
