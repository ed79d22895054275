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
	"time"
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

// Stepper is an implementation whose work can be done piece by piece.
type Stepper struct {
	// Name identifies it in results, as impl=<Name>.
	Name string
	// Start gets ready, until the end of b, and returns what does one piece.
	Start func(b *testing.B) (step func() error)
}

// Alternate lets the implementations do so many pieces of work in turn, one
// piece each, and reports each one's rate as pieces × size of a unit, and the
// processor time that this process took for a unit, as cpu-ns/op. It is for
// work whose cost changes from moment to moment with what others do, such as
// forcing data to a disk: the pieces should be short.
func Alternate(b *testing.B, pieces int, size float64, unit string, impls ...Stepper) {
	for round := range *rounds {
		b.Run(fmt.Sprintf("round=%d", round+1), func(b *testing.B) {
			steps := make([]func() error, len(impls))
			took, cpu := make([]time.Duration, len(impls)), make([]time.Duration, len(impls))
			for i, impl := range impls {
				steps[i] = impl.Start(b)
			}

			for piece := range pieces {
				for k := range impls {
					i := (piece + k) % len(impls)
					start, used := time.Now(), ProcessCPU(b)
					if err := steps[i](); err != nil {
						b.Fatalf("%s: %v", impls[i].Name, err)
					}
					took[i] += time.Since(start)
					cpu[i] += ProcessCPU(b) - used
				}
			}

			for i, impl := range impls {
				b.Run("impl="+impl.Name, func(b *testing.B) {
					b.ReportMetric(float64(pieces)*size/took[i].Seconds(), unit)
					b.ReportMetric(float64(cpu[i].Nanoseconds())/(float64(pieces)*size), "cpu-ns/op")
					b.ReportMetric(0, "ns/op")
				})
			}
		})
	}
}
