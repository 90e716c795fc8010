import t from 'tap'
import { IntrusiveSet, type SetLinks } from '../../gateway/streams/intrusive-set.ts'

interface Member extends SetLinks {
  readonly name: string
}

function filled(...names: string[]): { set: IntrusiveSet<Member>; members: Member[] } {
  const set = new IntrusiveSet<Member>()
  const members = names.map((name) => ({ name, previous: null, next: null, linked: false }))
  for (const member of members) set.add(member)
  return { set, members }
}

const namesOf = (set: IntrusiveSet<Member>) => [...set].map(({ name }) => name).sort()

t.test('a member that is added twice is in the set once', async (t) => {
  const { set, members } = filled('a', 'b')
  set.add(members[0]!)
  t.same(namesOf(set), ['a', 'b'])
  t.ok(set.has(members[1]!))
})

for (const gone of ['a', 'b', 'c']) {
  t.test(`of three members the others stay when ${gone} is deleted`, async (t) => {
    const { set, members } = filled('a', 'b', 'c')
    const member = members.find(({ name }) => name === gone)!
    t.equal(set.delete(member), true)
    t.same(
      namesOf(set),
      ['a', 'b', 'c'].filter((name) => name !== gone),
    )
    t.notOk(set.has(member))
  })
}

t.test('a deleted member has no links, so that it keeps no other member alive', async (t) => {
  const { set, members } = filled('a', 'b', 'c')
  set.delete(members[1]!)
  t.match(members[1], { previous: null, next: null })
})

t.test('deleting what is no member returns false', async (t) => {
  const { set, members } = filled('a')
  set.delete(members[0]!)
  t.equal(set.delete(members[0]!), false)
})

t.test('a deleted member can be added again', async (t) => {
  const { set, members } = filled('a', 'b')
  set.delete(members[0]!)
  set.add(members[0]!)
  t.same(namesOf(set), ['a', 'b'])
})

t.test('the current member of an iteration may be deleted', async (t) => {
  const { set } = filled('a', 'b', 'c')
  const seen: string[] = []
  for (const member of set) {
    seen.push(member.name)
    set.delete(member)
  }
  t.same(seen.sort(), ['a', 'b', 'c'])
  t.same(namesOf(set), [])
})
