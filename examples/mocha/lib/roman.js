'use strict'

const NUMERALS = [
  [1000, 'M'], [900, 'CM'], [500, 'D'], [400, 'CD'], [100, 'C'], [90, 'XC'],
  [50, 'L'], [40, 'XL'], [10, 'X'], [9, 'IX'], [5, 'V'], [4, 'IV'], [1, 'I'],
]

/** 14 becomes "XIV". */
exports.roman = (number) => {
  if (!Number.isInteger(number) || number < 1 || number > 3999) throw new RangeError(`no Roman numeral: ${number}`)
  let text = ''
  for (const [value, numeral] of NUMERALS) {
    for (; number >= value; number -= value) text += numeral
  }
  return text
}
