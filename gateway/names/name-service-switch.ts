/** The sources that need no getaddrinfo: the hosts file and name servers. */
const OWN_SOURCES = new Set(['files', 'dns'])

/**
 * Whether getaddrinfo may know names that neither the hosts file nor a name server does: where `/etc/nsswitch.conf`
 * names further sources for hosts (mdns4, resolve, myhostname, ldap), and on systems that go by other rules.
 *
 * @param text of `/etc/nsswitch.conf`; null where there is none, as on Alpine, and then there are no further sources
 */
export function hasFurtherSources(text: string | null, platform: NodeJS.Platform): boolean {
  if (platform === 'darwin' || platform === 'win32') return true
  const line = /^\s*hosts:(.*)$/m.exec(text ?? '')?.[1] ?? ''
  const sources = line
    .replace(/#.*/, '')
    .replace(/\[[^\]]*\]/g, ' ')
    .trim()
    .split(/\s+/)
  return sources.some((source) => source !== '' && !OWN_SOURCES.has(source))
}
