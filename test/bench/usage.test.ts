import { spawn } from 'node:child_process'
import { once } from 'node:events'
import t from 'tap'
import { usageOf } from '../../bench/usage.ts'

/** A child of this shell computes, ends, and is waited for; then the shell itself waits. */
const SCRIPT = '(i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done); echo computed; read -r line'

t.test('the CPU time of a process that has ended counts for its parent', async (t) => {
  const shell = spawn('sh', ['-c', SCRIPT], { stdio: ['pipe', 'pipe', 'inherit'] })
  const closed = once(shell, 'close')
  await once(shell.stdout, 'data')
  const { cpuUs } = usageOf([shell.pid!])
  t.ok(cpuUs >= 50_000, `${cpuUs} µs`)
  shell.stdin.end()
  await closed
})
