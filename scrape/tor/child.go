package tor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/svcblocks/svcblocks/internal/backoff"
	"github.com/svcblocks/svcblocks/scrape"
	"github.com/svcblocks/svcblocks/scrape/internal/named"
)

const (
	restartLimit = 2 * time.Minute // for one start, to the first circuit
	restartMax   = 30 * time.Second
	steadyAfter  = time.Minute // a Tor that has lived so long is no failed start
)

// child is the Tor that Start runs, and runs again when it has ended.
type child struct {
	binary string
	opts   Options
	dir    string // removed at the end

	ctx    context.Context // ends with close
	cancel context.CancelFunc
	done   chan struct{} // closed when supervise has ended

	mu      sync.Mutex
	process *process // nil: none can be used
	at      Options  // with the ports of process
	again   int
	err     error // why process is nil
}

// locate returns where the process is, or why there is none.
func (c *child) locate(context.Context) (*place, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.process == nil {
		return nil, named.Wrap("tor", "", fmt.Errorf("%w: %w", scrape.ErrEgressUnavailable, c.err))
	}
	return c.at.place(), nil
}

func (c *child) restarts() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.again
}

// set records the process that can be used now, or why there is none.
func (c *child) set(t *Tor, p *process, at Options, err error) {
	c.mu.Lock()
	c.process, c.at, c.err = p, at, err
	if p != nil {
		c.again++
	}
	c.mu.Unlock()
	if place := t.at.Load(); place != nil { // that of the process before
		t.lost(place)
	}
}

// supervise runs the process again whenever it has ended, until close.
func (c *child) supervise(t *Tor) {
	defer close(c.done)
	policy := backoff.Policy{Base: time.Second, Max: restartMax}

	failures := 0
	for {
		p, began := c.process, time.Now() // set by this goroutine alone
		select {
		case <-p.ended:
		case <-c.ctx.Done():
			c.set(t, nil, Options{}, errClosed)
			p.stop()
			return
		}

		err := fmt.Errorf("%w: Tor has ended (%w) and is run again: %s", ErrStart, p.exitErr, p.log.String())
		c.set(t, nil, Options{}, err)
		t.log.Warn("tor ended", "error", err)
		p.stop() // its connection
		if time.Since(began) > steadyAfter {
			failures = 0
		}

		next, at, ok := c.runAgain(t, policy, &failures)
		if !ok {
			c.set(t, nil, Options{}, errClosed)
			return
		}

		c.set(t, next, at, nil)
		t.log.Info("tor runs again", "socks", at.SOCKS)
	}
}

// runAgain starts a process, however often it takes. It reports false after
// close.
func (c *child) runAgain(t *Tor, policy backoff.Policy, failures *int) (*process, Options, bool) {
	for {
		if *failures > 0 {
			timer := time.NewTimer(policy.Delay(*failures))
			select {
			case <-timer.C:
			case <-c.ctx.Done():
				timer.Stop()
				return nil, Options{}, false
			}
		}

		*failures++
		ctx, cancel := context.WithTimeout(c.ctx, restartLimit)
		p, at, err := run(ctx, c.binary, c.dir, c.opts)
		cancel()
		if err == nil {
			return p, at, true
		}

		if c.ctx.Err() != nil {
			return nil, Options{}, false
		}
		err = fmt.Errorf("%w: Tor had ended, and attempt %d to run it again failed: %w", ErrStart, *failures, err)
		c.set(t, nil, Options{}, err)
		t.log.Warn("tor not started", "error", err)
	}
}

// errClosed is why there is no process after close.
var errClosed = errors.New("closed")

// close ends the process for good, and removes its folder.
func (c *child) close() error {
	c.cancel()
	<-c.done
	if err := os.RemoveAll(c.dir); err != nil {
		return named.Wrap("tor", "close", err)
	}
	return nil
}
