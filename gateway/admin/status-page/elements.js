/* The document, changed only where something differs: focus, selection and what is read out stay where they are. */

export const byId = (id) => document.getElementById(id)

/** An element with these attributes. Children are elements or text, which is never parsed as markup. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name)
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value)
  made.append(...children)
  return made
}

export function svgElement(name, attributes = {}) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name)
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value)
  return made
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text
}

export function setAttribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value)
}

/**
 * Makes the children of the container match `items`: those with a known key stay, in order.
 *
 * @param make creates the child of an item
 * @param update called with each item and its child
 */
export function follow(container, items, { key, make, update = () => {} }) {
  const known = new Map([...container.children].map((child) => [child.dataset.key, child]))
  let place = container.firstElementChild
  for (const item of items) {
    const name = key(item)
    let child = known.get(name)
    known.delete(name)
    if (child === undefined) {
      child = make(item)
      child.dataset.key = name
    }
    if (child === place) place = place.nextElementSibling
    else container.insertBefore(child, place)
    update(child, item)
  }
  for (const child of known.values()) child.remove()
}

/** A list of lines of text. */
export function followLines(list, lines) {
  follow(
    list,
    lines.map((text, n) => ({ text, n })),
    {
      key: ({ text, n }) => `${n} ${text}`,
      make: ({ text }) => element('li', {}, text),
    },
  )
}

/**
 * A table whose rows follow `rows`, each a key and the texts of its cells. Roles are named, since a narrow window
 * lays the rows out as blocks, which would hide the table from screen readers.
 *
 * @param columns `{title, kind}`: `name` is the row's header, `number` is aligned by its digits
 */
export function followTable(table, columns, rows, none) {
  if (table.tHead === null) {
    const cells = columns.map(({ title, kind }) =>
      element('th', { scope: 'col', role: 'columnheader', class: kind ?? '' }, title),
    )
    table.setAttribute('role', 'table')
    table.append(
      element('thead', { role: 'rowgroup' }, element('tr', { role: 'row' }, ...cells)),
      element('tbody', { role: 'rowgroup' }),
    )
  }
  const shown = rows.length > 0 ? rows : [{ key: '', cells: [none] }]
  follow(table.tBodies[0], shown, {
    key: (row) => row.key,
    make: ({ cells, isGroup = false }) =>
      element(
        'tr',
        { role: 'row', class: isGroup ? 'group' : '' },
        ...cells.map((_, i) => (cells.length === 1 ? spanning(isGroup, columns.length) : cellOf(columns[i]))),
      ),
    update: updateRow,
  })
}

function spanning(isGroup, count) {
  return isGroup
    ? element('th', { role: 'rowheader', scope: 'rowgroup', class: 'name', colspan: String(count) })
    : element('td', { role: 'cell', class: 'none', colspan: String(count) })
}

function cellOf({ title, kind = '' }) {
  if (kind === 'name') return element('th', { scope: 'row', role: 'rowheader', class: kind })
  return element('td', { role: 'cell', class: kind, 'data-title': title })
}

/** A cell's text, or `{text, note, state}`: the note stands below it, the state colours it. */
function updateRow(tr, { cells }) {
  for (const [i, given] of cells.entries()) {
    const cell = tr.children[i]
    const { text, note = null, state = null } = typeof given === 'string' ? { text: given } : given
    if (note === null && state === null) {
      setText(cell, text)
      continue
    }
    if (cell.firstElementChild === null) {
      cell.replaceChildren(element('span'), element('span', { class: 'note' }))
    }
    setText(cell.children[0], text)
    setText(cell.children[1], note ?? '')
    if (state !== null) setAttribute(cell, 'data-state', state)
  }
}

/** What has to be scrolled can be reached by keys; what has not is no stop on the way. */
export function letScrollByKeys(boxes) {
  for (const box of boxes) {
    const scrolls = box.scrollHeight > box.clientHeight || box.scrollWidth > box.clientWidth
    if (scrolls) setAttribute(box, 'tabindex', '0')
    else box.removeAttribute('tabindex')
  }
}
