//go:build !linux

package bench

import (
	"testing"
	"time"
)

// LoopCPU calls op for each iteration of b. Processor time per thread is
// reported on Linux only.
func LoopCPU(b *testing.B, op func()) {
	b.Helper()
	for b.Loop() {
		op()
	}
}

// MeasureCPU calls loop.
func MeasureCPU(_ *testing.B, loop func()) { loop() }

// ProcessCPU returns 0: processor time is measured on Linux only.
func ProcessCPU(*testing.B) time.Duration { return 0 }
