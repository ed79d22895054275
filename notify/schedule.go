package notify

import (
	"container/heap"
	"time"
)

// task is something that the hub looks at when its time comes.
type task struct {
	at   time.Time
	pos  int // in the schedule, counted from 1; 0 is not in it
	fire func(now time.Time, t *todo)
}

// schedule holds the tasks of a hub under one timer, so that an idle hub has no
// goroutine. The hub's mutex guards it.
type schedule struct {
	tasks tasks
	timer *time.Timer
	set   time.Time // when timer fires; zero if it does not
	tick  func()
	ended bool
}

// plan puts t at the time at, or takes it out if that is zero.
func (s *schedule) plan(t *task, at time.Time) {
	switch {
	case at.IsZero():
		if t.pos > 0 {
			heap.Remove(&s.tasks, t.pos-1)
		}
		return
	case t.pos == 0:
		t.at = at
		heap.Push(&s.tasks, t)
	case t.at.Equal(at):
		return
	default:
		t.at = at
		heap.Fix(&s.tasks, t.pos-1)
	}

	s.arm()
}

// arm sets the timer to the first task.
func (s *schedule) arm() {
	if s.ended || len(s.tasks) == 0 || !s.set.IsZero() && !s.tasks[0].at.Before(s.set) {
		return
	}
	s.set = s.tasks[0].at
	wait := max(0, time.Until(s.set))
	if s.timer == nil {
		s.timer = time.AfterFunc(wait, s.tick)
	} else {
		s.timer.Reset(wait)
	}
}

// run fires what is due.
func (s *schedule) run(now time.Time, t *todo) {
	s.set = time.Time{}
	for len(s.tasks) > 0 && !s.tasks[0].at.After(now) && !s.ended {
		next := s.tasks[0]
		heap.Pop(&s.tasks)
		next.fire(now, t)
	}
	s.arm()
}

func (s *schedule) end() {
	s.ended = true
	if s.timer != nil {
		s.timer.Stop()
	}
}

// tasks is a heap by time.
type tasks []*task

func (h tasks) Len() int           { return len(h) }
func (h tasks) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h tasks) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i+1, j+1
}

func (h *tasks) Push(x any) {
	t := x.(*task)
	*h = append(*h, t)
	t.pos = len(*h)
}

func (h *tasks) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	t.pos = 0
	return t
}

// todo is what is done once the hub's mutex is free.
type todo struct {
	wait     bool        // for the journal
	batch    *batch      // what was noted last: what came before is written with it or before
	replaced []*delivery // by what is stored next
	run      []func()
	pump     []*worker
}
