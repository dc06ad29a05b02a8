// Elements without a framework. Text only ever becomes text: there is no way in for markup.

export type Child = Node | string | null | undefined | false;
type Handler = (event: never) => void;
export type Attributes = Record<string, string | number | boolean | null | undefined | Handler>;

function fill(element: Element, attributes: Attributes, children: Child[]): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value as EventListener);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children) if (child !== null && child !== undefined && child !== false) element.append(child);
}

export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  fill(element, attributes, children);
  return element;
}

export function svg(tag: string, attributes: Attributes = {}, ...children: Child[]): SVGElement {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  fill(element, attributes, children);
  return element;
}

export function replace(parent: Element, ...children: Child[]): void {
  parent.replaceChildren(...children.filter((child): child is Node | string => !!child));
}

// Length along a bar; a style attribute would need 'unsafe-inline', and this does not.
export function placed<E extends HTMLElement>(element: E, property: "inline-size" | "inset-inline-start", share: number): E {
  element.style.setProperty(property, `${(100 * Math.min(1, Math.max(0, share))).toFixed(2)}%`);
  return element;
}

export function save(name: string, content: Blob): void {
  const url = URL.createObjectURL(content);
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}


// An element's text, to the clipboard. Only pages over HTTPS have one of the browser's own; elsewhere the text is selected, as by
// hand, and stays so where the browser refuses.
export async function copy(element: HTMLElement): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(element.innerText);
    return true;
  } catch {
    window.getSelection()?.selectAllChildren(element);
    // eslint-disable-next-line @typescript-eslint/no-deprecated -- there is no other way without HTTPS
    return document.execCommand("copy");
  }
}
