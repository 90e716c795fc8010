import { execFile } from 'node:child_process'
import { cpus, totalmem } from 'node:os'
import { promisify } from 'node:util'
import { hasGoLibraries } from './go.ts'

/** The class of the machine, without anything that identifies it. */
export interface Machine {
  readonly cores: number
  readonly cpu: string
  readonly memoryGiB: number
  readonly node: string
  readonly postgres: string
  readonly nginx: string | null
  /** Null also where a library of the Go contenders is missing. */
  readonly go: string | null
  readonly loadGenerator: 'wrk' | 'autocannon'
}

export async function describeMachine(postgres: string): Promise<Machine> {
  return {
    cores: cpus().length,
    cpu: cpuClass(cpus()[0]?.model ?? 'unknown'),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    postgres,
    nginx: /nginx\/(\S+)/.exec(await outputOf('nginx', ['-v']))?.[1] ?? null,
    go: hasGoLibraries() ? (/ go(\d\S*)/.exec(await outputOf('go', ['version']))?.[1] ?? null) : null,
    loadGenerator: /wrk/.test(await outputOf('wrk', ['-v'])) ? 'wrk' : 'autocannon',
  }
}

export function machineLine(machine: Machine): string {
  const { cores, cpu, memoryGiB, node, postgres, nginx, go, loadGenerator } = machine
  return [
    `${cores} cores (${cpu})`,
    `${memoryGiB} GiB`,
    `Node ${node}`,
    `PostgreSQL ${postgres}`,
    nginx === null ? 'no nginx' : `nginx ${nginx}`,
    go === null ? 'no Go' : `Go ${go}`,
    `load by ${loadGenerator}`,
  ].join(', ')
}

function cpuClass(model: string): string {
  return model
    .replace(/\((R|TM)\)/gi, '')
    .replace(/\bCPU\b|@.*$/g, '')
    .replace(/\s+/g, ' ')
    .trim()
}

/** What a command prints on both streams; empty where there is no such command. */
async function outputOf(command: string, args: readonly string[]): Promise<string> {
  try {
    const { stdout, stderr } = await promisify(execFile)(command, [...args])
    return stdout + stderr
  } catch (error) {
    const { stdout = '', stderr = '', code } = error as { stdout?: string; stderr?: string; code?: unknown }
    return code === 'ENOENT' ? '' : stdout + stderr
  }
}
