/** What a figure has to reach. */
export interface Bound {
  readonly kind: 'at most' | 'at least'
  readonly value: number
  readonly unit: string
}

export function atMost(value: number, unit = ''): Bound {
  return { kind: 'at most', value, unit }
}

export function atLeast(value: number): Bound {
  return { kind: 'at least', value, unit: '' }
}

export interface Judged {
  /** Empty where there is no target and the figure is for comparison only. */
  readonly target: string
  readonly verdict: '' | 'met' | 'NOT MET'
}

export function judge(figure: number, bound: Bound | null): Judged {
  if (bound === null) return { target: '', verdict: '' }
  const { kind, value, unit } = bound
  const met = kind === 'at most' ? figure <= value : figure >= value
  return { target: `${kind} ${value}${unit}`, verdict: met ? 'met' : 'NOT MET' }
}
