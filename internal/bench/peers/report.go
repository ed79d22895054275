package main

import (
	"fmt"
	"slices"
	"strings"
)

// title, and what is compared.
var sections = map[string]string{
	"config": "A file of 105 keys in 15 sections is read, parsed and decoded into a struct. Ours also refuses unknown and\n" +
		"duplicate keys and keeps the origin of each. Get reads one string of what was loaded.",
	"logging": "A record has five attributes: two strings, an integer, a duration and a boolean. Where a library has an interface\n" +
		"of its own and a handler for log/slog, both are here. Features: a level per component, four redacted keys, sampling.\n" +
		"Ship is one million lines, 282 MB, sent over HTTP in batches of 10,000 lines by a process of its own, whose CPU time\n" +
		"and memory count; the receiver checks every line. StalledReceiver is the latency of log calls while segments pile up.",
	"notify": "Mail is 1 KB of text to one recipient on a real postfix, which forces each to its disk and then discards it; the last\n" +
		"has 20 ms of round trip in between. Ours and raw-pipelined-4 use four connections, ours-1 one; nikoksr and gomail make\n" +
		"a connection for each mail, one caller after the other (nikoksr-4: four callers); gomail-kept-4 keeps four. The raw way\n" +
		"is the bound: mails made in advance, each envelope sent along with the mail before it. Repeat is a message that is only\n" +
		"counted; digest-map is SHA-256 and a map. DurableSend stores messages of 1 KB; append-fsync is what one file can do.",
	"scrape": "Pages of 10 KB from a server in another process on loopback, with the same headers from all, checked by the server.\n" +
		"CPU time is the client's.",
}

// absolute are units that say something by themselves, and do not depend on
// the machine's mood.
var absolute = []string{"allocs/op", "conns/op", "peak-MiB", "wire-MB"}

// report writes the page.
func report(all results, about string) string {
	var sb strings.Builder
	sb.WriteString("# Beside others\n\nThis page is written by `make bench-peers`; do not edit it.\n\n")
	sb.WriteString(about)
	sb.WriteString("\nEach figure is ours ÷ the peer's: the median of the rounds, and the extremes. Only figures of one table compare.\n" +
		"CPU time hardly depends on what else the machine does; rates and times do, and their extremes show how much.\n")
	sb.WriteString("Before anything is timed, an assertion shows that all do the same work.\n")
	writeBars(&sb, all)

	for _, folder := range folders {
		began := false
		for _, c := range all {
			if c.folder != folder {
				continue
			}
			if !began {
				fmt.Fprintf(&sb, "\n## %s\n\n%s\n", folder, sections[folder])
				began = true
			}
			writeComparison(&sb, c)
		}
	}

	return sb.String()
}

func writeBars(sb *strings.Builder, all results) {
	var rows []string
	for _, b := range bars {
		s, ok := b.measure(all)
		if !ok {
			continue
		}
		peer, verdict := "–", "met"
		if b.peer != "" {
			peer = b.peer
		}
		if !b.met(s) {
			verdict = "**missed**"
		}
		rows = append(rows, fmt.Sprintf("| %s | %s | %s | %s | %s | %s |\n", b.folder, b.what, peer, b.limit(), s, verdict))
	}

	if len(rows) == 0 {
		return
	}
	sb.WriteString("\n## Bars\n\nWithout a peer the figure is ours alone.\n\n| block | what | peer | bar | measured | |\n|---|---|---|---|---|---|\n")
	for _, row := range rows {
		sb.WriteString(row)
	}
}

// writeComparison writes a table with a row for each peer, and for each of our
// own variants.
func writeComparison(sb *strings.Builder, c *comparison) {
	units := slices.DeleteFunc(slices.Clone(c.units), func(unit string) bool {
		return unit == "B/op" || unit == "ns/op" && slices.Contains(c.units, "cpu-ns/op")
	})
	if len(units) == 0 {
		return
	}

	fmt.Fprintf(sb, "\n**%s**\n\n| ours ÷ |", c.name)
	for _, unit := range units {
		better := "less is better"
		if strings.HasSuffix(unit, "/s") || strings.HasSuffix(unit, "/cpu-s") {
			better = "more is better"
		}
		if slices.Contains(absolute, unit) {
			better = "ours, theirs"
		}
		fmt.Fprintf(sb, " %s (%s) |", unit, better)
	}

	sb.WriteString("\n|---|" + strings.Repeat("---|", len(units)) + "\n")
	for _, impl := range slices.Sorted(slices.Values(c.impls)) {
		if impl == "ours" {
			continue
		}
		fmt.Fprintf(sb, "| %s |", impl)
		for _, unit := range units {
			fmt.Fprintf(sb, " %s |", c.cell(impl, unit))
		}
		sb.WriteString("\n")
	}
}

func (c *comparison) cell(impl, unit string) string {
	ours, theirs := c.values["ours"][unit], c.values[impl][unit]
	if slices.Contains(absolute, unit) {
		a, okA := spreadOf(ours)
		b, okB := spreadOf(theirs)
		if !okA || !okB {
			return "–"
		}
		return figure(a.median) + ", " + figure(b.median)
	}
	s, ok := ratio(ours, theirs)
	if !ok {
		return "–"
	}
	return s.String()
}
