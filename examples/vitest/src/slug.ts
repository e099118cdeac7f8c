export type Options = { separator?: string }

/** A title as it stands in an address: "Crème brûlée!" becomes "creme-brulee". */
export function slug(title: string, { separator = '-' }: Options = {}): string {
  return title
    .normalize('NFD')
    .replace(/\p{Mark}/gu, '')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, separator)
    .replace(new RegExp(`^[${separator}]+|[${separator}]+$`, 'g'), '')
}
