package bench

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// LoopCPU calls op for each iteration of b and reports what MeasureCPU does.
func LoopCPU(b *testing.B, op func()) {
	b.Helper()
	MeasureCPU(b, func() {
		for b.Loop() {
			op()
		}
	})
}

// MeasureCPU calls loop, which goes round b.Loop, and reports the processor
// time that the calling thread took, as cpu-ns/op. Unlike the time, that hardly
// depends on what else the machine does.
func MeasureCPU(b *testing.B, loop func()) {
	b.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := usage(b, syscall.RUSAGE_THREAD)
	loop()
	took := usage(b, syscall.RUSAGE_THREAD) - start
	b.ReportMetric(float64(took.Nanoseconds())/float64(b.N), "cpu-ns/op")
}

// ProcessCPU returns the processor time that this process took so far, of all
// its threads, in user and in kernel mode.
func ProcessCPU(b *testing.B) time.Duration {
	b.Helper()
	return usage(b, syscall.RUSAGE_SELF)
}

func usage(b *testing.B, who int) time.Duration {
	b.Helper()
	var r syscall.Rusage
	if err := syscall.Getrusage(who, &r); err != nil {
		b.Fatal(fmt.Errorf("getrusage: %w", err))
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
