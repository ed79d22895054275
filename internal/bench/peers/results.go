package main

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// comparison is one benchmark with all its implementations.
type comparison struct {
	folder string // "config"
	name   string // "Load/format=yaml"
	impls  []string
	units  []string
	// values are by implementation and unit, one for each round.
	values map[string]map[string][]float64
}

// results are in the order in which they were measured.
type results []*comparison

func (r results) find(folder, name string) *comparison {
	for _, c := range r {
		if c.folder == folder && c.name == name {
			return c
		}
	}
	return nil
}

var line = regexp.MustCompile(`^Benchmark(\S*?)/round=\d+/impl=(\S+?)(?:-\d+)?\s+\d+\s+(.+)$`)

// aboutPrefix begins the lines of a results file that say where, when and how
// its results came about.
const aboutPrefix = "peers: "

// parse reads the output of go test -bench, and what was noted beside it.
func parse(r io.Reader) (all results, about string, err error) {
	folder := ""
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if pkg, ok := strings.CutPrefix(lines.Text(), "pkg: "); ok {
			folder = pkg[strings.LastIndexByte(pkg, '/')+1:]
			continue
		}
		if note, ok := strings.CutPrefix(lines.Text(), aboutPrefix); ok {
			about += note + "\n"
			continue
		}

		m := line.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}

		c := all.find(folder, m[1])
		if c == nil {
			c = &comparison{folder: folder, name: m[1], values: map[string]map[string][]float64{}}
			all = append(all, c)
		}

		if err := c.add(m[2], strings.Fields(m[3])); err != nil {
			return nil, "", fmt.Errorf("%w in %q", err, lines.Text())
		}
	}

	return all, about, lines.Err()
}

// add adds pairs of a value and its unit.
func (c *comparison) add(impl string, pairs []string) error {
	if len(pairs)%2 != 0 {
		return fmt.Errorf("a value without a unit")
	}
	if c.values[impl] == nil {
		c.values[impl] = map[string][]float64{}
		c.impls = append(c.impls, impl)
	}

	for pair := range slices.Chunk(pairs, 2) {
		value, err := strconv.ParseFloat(pair[0], 64)
		if err != nil {
			return err
		}
		unit := pair[1]
		if !slices.Contains(c.units, unit) {
			c.units = append(c.units, unit)
		}
		c.values[impl][unit] = append(c.values[impl][unit], value)
	}

	return nil
}

// spread is the median of some rounds, and the extremes.
type spread struct{ median, least, most float64 }

func spreadOf(values []float64) (spread, bool) {
	if len(values) == 0 {
		return spread{}, false
	}
	v := slices.Sorted(slices.Values(values))
	n := len(v)
	return spread{median: (v[(n-1)/2] + v[n/2]) / 2, least: v[0], most: v[n-1]}, true
}

// ratio divides two series round by round: what disturbed a round disturbed
// both.
func ratio(ours, peers []float64) (spread, bool) {
	var ratios []float64
	for i := range min(len(ours), len(peers)) {
		if peers[i] == 0 {
			return spread{}, false
		}
		ratios = append(ratios, ours[i]/peers[i])
	}
	return spreadOf(ratios)
}
