package config

import (
	"reflect"
	"sync"

	"github.com/svcblocks/svcblocks/config/internal/typed"
)

// changes delivers published snapshots to OnChange functions: one at a time,
// in order, outside of all other locks, so that a function may use the store.
type changes struct {
	mu       sync.Mutex
	watchers []*watcher
	queue    [][2]reflect.Value
	delivers bool
}

type watcher struct {
	call    func(old, next reflect.Value)
	stopped bool
}

// OnChange calls f with the old and the new value of a part of the settings
// whenever a new snapshot changed that part: its keys, if it is a struct of
// settings, else all of it by reflect.DeepEqual. Functions run one after the
// other, in the order of the changes, on the goroutine that brought the change;
// they may use the store, but not close it. Stop ends the calls; a call that has
// begun may still be running when it returns.
func OnChange[T, V any](s *Store[T], part func(*T) V, f func(old, next V)) (stop func()) {
	if part == nil || f == nil {
		panic("config: OnChange: nil function")
	}
	same := func(a, b V) bool { return reflect.DeepEqual(a, b) }
	if keys := typed.ShapeOf(reflect.TypeFor[V](), specials()); keys.Code == typed.Struct || keys.Code == typed.Pointer || keys.Code == typed.Text {
		same = func(a, b V) bool { return typed.Equal(reflect.ValueOf(&a).Elem(), reflect.ValueOf(&b).Elem(), keys) }
	}
	w := &watcher{call: func(old, next reflect.Value) {
		before, after := part(old.Interface().(*T)), part(next.Interface().(*T))
		if !same(before, after) {
			f(before, after)
		}
	}}
	return s.engine.changes.add(w)
}

func (c *changes) add(w *watcher) (stop func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watchers = append(c.watchers, w)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		w.stopped = true
		for i, other := range c.watchers {
			if other == w {
				c.watchers = append(c.watchers[:i:i], c.watchers[i+1:]...)
				return
			}
		}
	}
}

func (c *changes) push(old, next reflect.Value) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.watchers) > 0 && old.Pointer() != next.Pointer() {
		c.queue = append(c.queue, [2]reflect.Value{old, next})
	}
}

// deliver empties the queue, unless another call is at it.
func (c *changes) deliver() {
	c.mu.Lock()
	if c.delivers {
		c.mu.Unlock()
		return
	}

	c.delivers = true
	defer func() {
		c.delivers = false
		c.mu.Unlock()
	}()

	for len(c.queue) > 0 {
		change := c.queue[0]
		c.queue = c.queue[1:]
		for _, w := range append([]*watcher(nil), c.watchers...) {
			if w.stopped {
				continue
			}
			c.mu.Unlock()
			c.call(w, change)
		}
	}
}

// call runs one function and holds the lock again afterwards, also when the
// function panics.
func (c *changes) call(w *watcher, change [2]reflect.Value) {
	defer c.mu.Lock()
	w.call(change[0], change[1])
}
