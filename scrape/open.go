package scrape

import (
	"context"
	"net"
	"sync"
	"time"
)

// Bounds on connections that are opened before they are needed.
const (
	maxOpened = 16
	openedAge = 10 * time.Second // servers close what says nothing for long
)

// openLocked has the next identity connect, shortly before it takes over from
// id, to where id has most connections, as many times. A change of identity
// would else stop all workers for as long as connecting takes, which at 8
// workers and 25 requests costs a quarter of the pages. Client.mu is held.
// What goes wrong is left to the requests, which find no connection then.
func (c *Client) openLocked(s *slot, id *identity) {
	left := c.opts.Rotation.Every - id.used
	if len(s.spares) == 0 || c.opts.Rotation.Every < 0 || left > 2*maxOpened || s.spares[0].opened {
		return
	}
	addr, n := id.busiest()
	if n < 2 || left > 2*n { // one after another, hardly anything is won
		return
	}
	next := s.spares[0]
	next.opened = true
	c.wg.Go(func() {
		ctx, cancel := context.WithTimeout(c.ctx, warmTimeout)
		defer cancel()
		var wg sync.WaitGroup
		for range min(n, maxOpened) {
			wg.Go(func() {
				if err := next.open(ctx, addr); err != nil {
					c.log.Debug("connection not opened in advance", "error", err)
				}
			})
		}
		wg.Wait()
	})
}

// busiest returns the address that most connections of id lead to, and how
// many.
func (id *identity) busiest() (addr string, n int) {
	id.mu.Lock()
	defer id.mu.Unlock()
	count := map[string]int{}
	for conn := range id.conns {
		a := conn.addr
		if count[a]++; count[a] > n {
			addr, n = a, count[a]
		}
	}
	return addr, n
}

// open connects to addr in advance.
func (id *identity) open(ctx context.Context, addr string) error {
	conn, err := id.dialNew(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	id.mu.Lock()
	if id.ready == nil {
		id.ready = map[string][]*trackedConn{}
	}
	id.ready[addr] = append(id.ready[addr], conn)
	id.mu.Unlock()
	time.AfterFunc(openedAge, func() {
		if id.unready(conn) {
			_ = conn.Close() // nobody has wanted it
		}
	})
	return nil
}

// take returns a connection to addr that was opened in advance, or nil.
func (id *identity) take(addr string) net.Conn {
	id.mu.Lock()
	defer id.mu.Unlock()
	list := id.ready[addr]
	if len(list) == 0 {
		return nil
	}
	conn := list[len(list)-1]
	id.ready[addr] = list[:len(list)-1]
	return conn
}

// unready takes conn from those that were opened in advance, if it is still
// among them.
func (id *identity) unready(conn *trackedConn) bool {
	id.mu.Lock()
	defer id.mu.Unlock()
	list := id.ready[conn.addr]
	for i := range list {
		if list[i] == conn {
			id.ready[conn.addr] = append(list[:i:i], list[i+1:]...)
			return true
		}
	}
	return false
}
