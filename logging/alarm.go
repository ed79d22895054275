package logging

import (
	"sync"
	"time"
)

// alarm runs a function once, some time after it was set. It is used under its
// owner's lock, but for the function.
type alarm struct {
	working *sync.WaitGroup // counts alarms that are set or run
	do      func()          // calls rung
	timer   *time.Timer
}

// set sets the alarm, unless it is set.
func (a *alarm) set(d time.Duration) {
	if a.timer != nil {
		return
	}
	a.working.Add(1)
	a.timer = time.AfterFunc(d, func() {
		defer a.working.Done()
		a.do()
	})
}

// rung notes that the alarm rang, so that it can be set again.
func (a *alarm) rung() { a.timer = nil }

// stop ends the alarm.
func (a *alarm) stop() {
	if a.timer != nil && a.timer.Stop() {
		a.working.Done()
	}
}
