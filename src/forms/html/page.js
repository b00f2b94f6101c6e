'use strict';
const data = JSON.parse(document.getElementById('data').textContent);
const $ = id => document.getElementById(id);
const map = $('map'), view = $('view'), about = $('about'), list = $('list');
const boxes = new Map([...document.querySelectorAll('.node')].map(box => [box.dataset.node, box]));
const rows = new Map([...list.querySelectorAll('button')].map(row => [row.dataset.node, row]));
const lines = [...document.querySelectorAll('.edge')];
let chosen = null;

// Zoom and pan: one transform of the whole drawing, in the coordinates of the view box.
let x = 0, y = 0, scale = 1;
const whole = map.viewBox.baseVal;
function move(glide) {
  view.classList.toggle('glide', !!glide);
  view.setAttribute('transform', `translate(${x} ${y}) scale(${scale})`);
}
function point(event) {
  return new DOMPoint(event.clientX, event.clientY).matrixTransform(map.getScreenCTM().inverse());
}
function zoom(by, at) {
  const next = Math.min(Math.max(scale * by, 0.5), 24);
  x = at.x - (at.x - x) * next / scale;
  y = at.y - (at.y - y) * next / scale;
  scale = next;
  move();
}
const middle = () => ({ x: whole.x + whole.width / 2, y: whole.y + whole.height / 2 });
function fit() { x = y = 0; scale = 1; move(true); }
// Where all of it would be too small to read, it begins at its beginning.
function begin() {
  const pixels = map.getScreenCTM().a;
  if (pixels >= 0.35) return;
  scale = 0.7 / pixels;
  x = whole.x * (1 - scale);
  y = whole.y * (1 - scale) - (map.clientHeight / pixels - whole.height) / 2;
  move();
}
// So large that a box can be read, with this one in the middle.
function show(box) {
  const pixels = map.getScreenCTM().a;
  const readable = Math.max(scale, 0.9 / pixels);
  const at = box.transform.baseVal.consolidate().matrix, to = middle();
  scale = Math.min(readable, 24);
  x = to.x - (at.e + 105) * scale;
  y = to.y - (at.f + 23) * scale;
  move(true);
}
map.addEventListener('wheel', event => { event.preventDefault(); zoom(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0016)), point(event)); }, { passive: false });
const fingers = new Map();
let moved = 0;
map.addEventListener('pointerdown', event => { fingers.set(event.pointerId, point(event)); moved = 0; });
map.addEventListener('pointermove', event => {
  const before = fingers.get(event.pointerId);
  if (!before) return;
  const now = point(event);
  const step = Math.hypot(now.x - before.x, now.y - before.y) * map.getScreenCTM().a;
  moved += step;
  if (moved < 4) return;
  if (!map.hasPointerCapture(event.pointerId)) map.setPointerCapture(event.pointerId);
  map.classList.add('moving');
  if (fingers.size === 2) {
    const other = [...fingers].find(([id]) => id !== event.pointerId)[1];
    const was = Math.hypot(before.x - other.x, before.y - other.y), is = Math.hypot(now.x - other.x, now.y - other.y);
    if (was > 0) zoom(is / was, other);
  } else {
    x += now.x - before.x;
    y += now.y - before.y;
    move();
  }
  fingers.set(event.pointerId, now);
});
for (const end of ['pointerup', 'pointercancel', 'pointerleave']) {
  map.addEventListener(end, event => { fingers.delete(event.pointerId); map.classList.remove('moving'); });
}
$('in').onclick = () => zoom(1.4, middle());
$('out').onclick = () => zoom(1 / 1.4, middle());
$('fit').onclick = fit;

// What is known of a node.
function element(tag, text, kind) {
  const made = document.createElement(tag);
  if (text !== undefined && text !== null) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}
function link(node) {
  const made = element('button', data.nodes[node] ? data.nodes[node].name : node, 'link');
  made.type = 'button';
  made.onclick = () => choose(node, true);
  return made;
}
function part(title, items, open) {
  if (!items.length) return;
  const fold = element('details');
  fold.open = open;
  fold.append(element('summary', `${title} (${items.length})`));
  const rows = element('ul');
  for (const item of items) {
    const row = element('li');
    row.append(...item);
    rows.append(row);
  }
  fold.append(rows);
  about.append(fold);
}
function finding(one, withNode) {
  const box = element('div', null, `finding ${one.severity}`);
  if (!withNode) {
    const head = element('p');
    head.append(element('b', one.severity), ' ', element('code', one.rule));
    box.append(head);
  }
  box.append(element('p', one.message));
  if (one.place) box.append(element('p', one.place, 'file faint'));
  if (one.hint) box.append(element('p', one.hint));
  if (withNode && one.node) box.append(link(one.node));
  return box;
}
const moments = { 'ready-before-start': 'is ready', 'applied-before-start': 'is applied', 'ready-before-ready': 'is ready', 'applied-before-ready': 'is applied' };
function reason(edge, other) {
  const [, , constraint, why, place] = edge;
  const parts = [link(other), ` ${moments[constraint]}: ${why}`];
  if (place) parts.push(element('div', place, 'file faint'));
  return parts;
}
function unknown(one, withNode) {
  const box = element('div', null, 'finding unknown');
  box.append(element('p', `needs ${one.needs}`));
  if (one.place) box.append(element('p', one.place, 'file faint'));
  if (withNode && data.nodes[one.node]) box.append(link(one.node));
  return box;
}
function summary() {
  about.replaceChildren(element('h3', data.findings.length ? `${data.findings.length} to look at` : 'Nothing to look at'));
  about.append(element('p', 'Choose a node to see why it stands where it stands, what it holds and what waits for it.', 'faint'));
  for (const severity of ['blocks', 'differs', 'risk']) {
    const rules = new Map();
    for (const one of data.findings.filter(one => one.severity === severity)) rules.set(one.rule, [...(rules.get(one.rule) || []), one]);
    for (const [rule, found] of rules) {
      const fold = element('details', null, severity);
      fold.open = found.length < 4;
      const head = element('summary');
      head.append(element('b', severity), ' ', element('code', rule), ` ${found.length}`);
      fold.append(head, ...found.map(one => finding(one, true)));
      about.append(fold);
    }
  }
  if (data.unknowns.length) {
    const fold = element('details', null, 'unknown');
    fold.open = data.unknowns.length < 4;
    fold.append(element('summary', `not known from Git ${data.unknowns.length}`), ...data.unknowns.map(one => unknown(one, true)));
    about.append(fold);
  }
}
function describe(id) {
  const node = data.nodes[id];
  about.replaceChildren(element('h3', node.name));
  const facts = element('dl');
  const fact = (name, value, kind) => { if (value !== undefined && value !== null && value !== '') facts.append(element('dt', name), element('dd', value, kind)); };
  fact('wave', node.wave);
  fact('action', node.action);
  fact('owner', node.owner);
  fact('path', node.path, 'file');
  fact('source', node.source, 'file');
  fact('declared', node.declared, 'file');
  about.append(facts);
  for (const one of data.findings.filter(one => one.node === id)) about.append(finding(one, false));
  for (const one of data.unknowns.filter(one => one.node === id)) about.append(unknown(one, false));
  const into = data.edges.filter(edge => edge[1] === id), out = data.edges.filter(edge => edge[0] === id);
  const late = edge => edge[2].endsWith('-ready');
  part('starts after', into.filter(edge => !late(edge)).map(edge => reason(edge, edge[0])), true);
  part('is ready only after', into.filter(late).map(edge => reason(edge, edge[0])), true);
  part('waits for it', out.map(edge => [link(edge[1]), ` ${edge[3]}`]), true);
  part('objects', (node.objects || []).map(([name, place]) => [name, ...(place ? [element('div', place, 'file faint')] : [])]), (node.objects || []).length < 25);
  part('files', (node.files || []).map(file => [element('span', file, 'file')]), false);
}
function choose(id, center) {
  chosen = id;
  view.classList.toggle('dimmed', !!id);
  const near = new Set();
  for (const line of lines) {
    const { from, to } = line.dataset;
    line.classList.toggle('in', to === id);
    line.classList.toggle('out', from === id);
    if (to === id) near.add(from);
    if (from === id) near.add(to);
  }
  for (const [node, box] of boxes) {
    box.classList.toggle('chosen', node === id);
    box.classList.toggle('near', near.has(node));
  }
  for (const [node, row] of rows) {
    row.setAttribute('aria-current', node === id);
    if (node === id && matchMedia('(min-width: 861px)').matches) row.scrollIntoView({ block: 'nearest' });
  }
  if (!id) summary(); else describe(id);
  about.scrollTop = 0;
  if (id && center) show(boxes.get(id));
  history.replaceState(null, '', id ? `#${encodeURIComponent(id)}` : location.pathname + location.search);
}
map.addEventListener('click', event => {
  if (moved >= 4) return;
  const box = event.target.closest('.node');
  choose(box ? box.dataset.node : null, false);
});
list.addEventListener('click', event => {
  const row = event.target.closest('button');
  if (!row) return;
  choose(row.dataset.node, true);
  if (matchMedia('(max-width: 860px)').matches) about.scrollIntoView({ block: 'start' });
});
$('verdict').onclick = () => { choose(null); about.focus(); };

// Search: names, objects and files.
const texts = new Map(Object.entries(data.nodes).map(([id, node]) =>
  [id, [node.name, node.path, ...(node.objects || []).map(([name]) => name), ...(node.files || [])].join('\n').toLowerCase()]));
$('search').addEventListener('input', event => {
  const words = event.target.value.toLowerCase().split(/\s+/).filter(word => word);
  let hits = 0;
  for (const [id, row] of rows) {
    const hit = words.every(word => texts.get(id).includes(word));
    row.hidden = !hit;
    boxes.get(id).classList.toggle('hit', hit);
    hits += hit;
  }
  for (const section of list.children) section.hidden = ![...section.querySelectorAll('button')].some(row => !row.hidden);
  view.classList.toggle('searching', words.length > 0);
  $('none').hidden = hits > 0;
});
$('search').addEventListener('keydown', event => {
  const first = [...rows.values()].find(row => !row.hidden);
  if (event.key === 'Enter' && first) choose(first.dataset.node, true);
});

// Keys: arrows go to the nearest box on that side.
function beside(key) {
  const at = box => { const { e, f } = box.transform.baseVal.consolidate().matrix; return { x: e, y: f }; };
  if (!chosen) return boxes.keys().next().value;
  const from = at(boxes.get(chosen));
  const along = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
  let best = null, least = Infinity;
  for (const [id, box] of boxes) {
    const to = at(box), dx = to.x - from.x, dy = to.y - from.y;
    const ahead = dx * along[0] + dy * along[1], aside = Math.abs(dx * along[1]) + Math.abs(dy * along[0]);
    if (ahead > 0 && ahead + aside * 3 < least) [best, least] = [id, ahead + aside * 3];
  }
  return best;
}
map.addEventListener('keydown', event => {
  if (event.key.startsWith('Arrow')) { const next = beside(event.key); if (next) choose(next, true); }
  else if (event.key === '+' || event.key === '=') zoom(1.4, middle());
  else if (event.key === '-') zoom(1 / 1.4, middle());
  else if (event.key === '0') fit();
  else if (event.key === 'Enter') about.focus();
  else return;
  event.preventDefault();
});
document.addEventListener('keydown', event => {
  if (event.key === '/' && document.activeElement !== $('search')) { event.preventDefault(); $('search').focus(); }
  if (event.key === 'Escape') { $('search').value = ''; $('search').dispatchEvent(new Event('input')); choose(null); fit(); }
});

const asked = decodeURIComponent(location.hash.slice(1));
begin();
if (data.nodes[asked]) choose(asked, true); else choose(null);
