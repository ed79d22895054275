// Package bench is what the comparisons with other libraries share. Each
// folder below compares one block with its peers.
//
// Before a peer is timed, a test asserts that it does the same work. Rounds of
// all implementations alternate within one process, so that whatever else the
// machine does falls on each of them alike; only ratios within one run mean
// anything. Results are made for
//
//	benchstat -col /impl -ignore /round
//
// and the program in peers runs everything and writes README.md.
package bench

import (
	"flag"
	"fmt"
	"testing"
)

var rounds = flag.Int("rounds", 1, "rounds of each comparison, in which the implementations alternate")

// Impl is one implementation of the work that is compared.
type Impl struct {
	// Name identifies it in results, as impl=<Name>.
	Name string
	// Run does the work, once per b.Loop.
	Run func(b *testing.B)
}

// Compare runs the implementations in turn, for as many rounds as the flag
// -rounds says. Each round begins with another one, so that none is always
// measured after the same predecessor.
func Compare(b *testing.B, impls ...Impl) {
	for round := range *rounds {
		b.Run(fmt.Sprintf("round=%d", round+1), func(b *testing.B) {
			for i := range impls {
				impl := impls[(i+round)%len(impls)]
				b.Run("impl="+impl.Name, impl.Run)
			}
		})
	}
}
