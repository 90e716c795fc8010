import t from 'tap'
import { hasFurtherSources } from '../../gateway/names/name-service-switch.ts'

const linux = (text: string | null) => hasFurtherSources(text, 'linux')

t.test('files and dns need no getaddrinfo, nor does a system without the file', async (t) => {
  t.equal(linux('passwd: files ldap\nhosts:          files dns\n'), false)
  t.equal(linux('hosts: files [NOTFOUND=continue] dns # mdns4'), false)
  t.equal(linux('# hosts: files ldap'), false)
  t.equal(linux(''), false)
  t.equal(linux(null), false)
})

t.test('every other source does', async (t) => {
  t.equal(linux('hosts: files mdns4_minimal [NOTFOUND=return] dns'), true)
  t.equal(linux('hosts: files myhostname resolve [!UNAVAIL=return] dns'), true)
  t.equal(linux('hosts: files ldap'), true)
})

t.test('macOS and Windows have sources of their own', async (t) => {
  t.equal(hasFurtherSources(null, 'darwin'), true)
  t.equal(hasFurtherSources(null, 'win32'), true)
})
