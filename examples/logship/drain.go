package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/svcblocks/svcblocks/logging"
)

// drain ships all that is sealed in dir, and shows how far it is.
func drain(ctx context.Context, dir, name string, sink logging.Sink, stdout, stderr io.Writer) error {
	var mu sync.Mutex
	s, err := logging.NewShipper(&logging.ShipperOptions{
		Dir: dir, Sink: sink, Name: name,
		Retry: logging.Retry{MaxElapsed: math.MaxInt64}, // ctx bounds it
		OnError: func(err error) {
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintln(stderr, "\r"+err.Error())
		},
	})
	if err != nil {
		return err
	}

	finished := make(chan struct{})
	var shown sync.WaitGroup
	if isTerminal(stdout) {
		shown.Go(func() {
			tick := time.NewTicker(200 * time.Millisecond)
			defer tick.Stop()
			for {
				bar := progress(s.Stats())
				mu.Lock()
				fmt.Fprint(stdout, "\r", bar)
				mu.Unlock()
				select {
				case <-finished:
					fmt.Fprintln(stdout)
					return
				case <-tick.C:
				}
			}
		})
	}

	begin := time.Now()
	res, err := s.SendBulk(ctx)
	close(finished)
	shown.Wait()
	fmt.Fprintf(stdout, "%d events (%s) in %d segments shipped in %v; %d retries, %d quarantined, %d remaining\n",
		res.Events, size(res.Bytes), res.Segments, time.Since(begin).Round(time.Millisecond), res.Retries, res.Quarantined, res.Remaining)
	return err
}

const barWidth = 30

// progress returns a line such as [######------] 50 %, 500 of 1000 events.
func progress(st logging.ShipStats) string {
	total := st.Events + st.Quarantined + st.WaitingEvents
	done := total - st.WaitingEvents
	full, percent := barWidth, int64(100)
	if total > 0 {
		full, percent = int(done*barWidth/total), done*100/total
	}
	line := fmt.Sprintf("[%s%s] %3d %%, %d of %d events", strings.Repeat("#", full), strings.Repeat("-", barWidth-full), percent, done, total)
	if st.Failures > 0 {
		line += fmt.Sprintf(", %d failures in a row", st.Failures)
	}
	return line + "\x1b[K" // clears what is left of a longer line
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// size returns n in a unit that reads well.
func size(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/unit, 0
	for ; f >= unit && i < 3; i++ {
		f /= unit
	}
	return fmt.Sprintf("%.1f %ciB", f, "KMGT"[i])
}
