import t from 'tap'
import { hasOtherSources } from '../../gateway/names/name-service-switch.ts'

const linux = (text: string | null) => hasOtherSources(text, 'linux')

t.test('getaddrinfo is not needed for files and dns, nor on a system without the file', async (t) => {
  t.equal(linux('passwd: files ldap\nhosts:          files dns\n'), false)
  t.equal(linux('hosts: files [NOTFOUND=continue] dns # mdns4'), false)
  t.equal(linux('# hosts: files ldap'), false)
  t.equal(linux(''), false)
  t.equal(linux(null), false)
})

t.test('getaddrinfo is needed for every other source', async (t) => {
  t.equal(linux('hosts: files mdns4_minimal [NOTFOUND=return] dns'), true)
  t.equal(linux('hosts: files myhostname resolve [!UNAVAIL=return] dns'), true)
  t.equal(linux('hosts: files ldap'), true)
})

t.test('getaddrinfo is needed on macOS and Windows', async (t) => {
  t.equal(hasOtherSources(null, 'darwin'), true)
  t.equal(hasOtherSources(null, 'win32'), true)
})
