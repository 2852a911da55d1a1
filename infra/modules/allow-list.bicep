// One allow-list in the three forms that Azure's services take: a site takes ranges, of IPv6 too; vault and database
// ranges of IPv4; storage single addresses where a range has one or two of them.

@export()
@description('Ranges for a site: every element split at its commas, a bare address as a range, each once.')
func siteRanges(lists string[]) string[] =>
  union(
    [],
    map(
      filter(map(flatten(map(lists, text => split(text, ','))), text => trim(text)), text => !empty(text)),
      text => contains(text, '/') ? text : contains(text, ':') ? '${text}/128' : '${text}/32'
    )
  )

@export()
@description('The ranges of IPv4, for vault and database.')
func ipv4Ranges(ranges string[]) string[] => filter(ranges, range => !contains(range, ':'))

@export()
@description('Ranges of IPv4 as storage takes them.')
func storageRanges(ranges string[]) string[] =>
  flatten(map(
    ranges,
    range =>
      endsWith(range, '/32')
        ? [parseCidr(range).network]
        : endsWith(range, '/31') ? [parseCidr(range).network, parseCidr(range).broadcast] : [range]
  ))
