package logging

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"
)

// levels holds the level of each component. A component's level is that of the
// most specific pattern that matches its name.
type levels struct {
	mu         sync.Mutex
	lasting    map[string]slog.Level // by pattern; "*" is always there
	passing    map[string]*passing   // by pattern, in front of lasting
	components map[string]*slog.LevelVar
	closed     bool
}

// passing is a level that expires.
type passing struct {
	level slog.Level
	timer *time.Timer
}

func newLevels(base slog.Level, patterns map[string]slog.Level) *levels {
	l := &levels{
		lasting:    map[string]slog.Level{"*": base},
		passing:    map[string]*passing{},
		components: map[string]*slog.LevelVar{},
	}
	maps.Copy(l.lasting, patterns)
	return l
}

// parseLevel reads a level by name; "" is info.
func parseLevel(text string) (level slog.Level, err error) {
	switch {
	case text == "":
		return slog.LevelInfo, nil
	case len(text) >= len("warning") && strings.EqualFold(text[:len("warning")], "warning"):
		text = text[:len("warn")] + text[len("warning"):] // as Python has it
	}
	if err := level.UnmarshalText([]byte(text)); err != nil {
		return 0, fmt.Errorf("%q is no level: use debug, info, warn or error", text)
	}
	return level, nil
}

// checkPattern reports a pattern that is neither a component's name nor ends in
// ".*", nor is "*".
func checkPattern(p string) error {
	if p == "*" {
		return nil
	}
	if p == "" {
		return errors.New(`the pattern is empty: name a component, such as "orders.http", a family, such as "orders.*", or "*" for all`)
	}
	for part := range strings.SplitSeq(strings.TrimSuffix(p, ".*"), ".") {
		if part == "" || strings.ContainsAny(part, "* \t\n\"") {
			return fmt.Errorf(`the pattern %q is neither a component, such as "orders.http", nor a family, such as "orders.*", nor "*"`, p)
		}
	}
	return nil
}

// component returns the level of the component called name; it follows later
// changes.
func (l *levels) component(name string) *slog.LevelVar {
	l.mu.Lock()
	defer l.mu.Unlock()
	v, ok := l.components[name]
	if !ok {
		v = new(slog.LevelVar)
		v.Set(l.of(name))
		l.components[name] = v
	}
	return v
}

// of returns the level for name by its most specific pattern: the name itself,
// then each family from the innermost, then "*".
func (l *levels) of(name string) slog.Level {
	if level, ok := l.at(name); ok && name != "" {
		return level
	}
	for family := name; family != ""; {
		if level, ok := l.at(family + ".*"); ok {
			return level
		}
		i := strings.LastIndexByte(family, '.')
		family = family[:max(i, 0)]
	}
	level, _ := l.at("*")
	return level
}

func (l *levels) at(pattern string) (slog.Level, bool) {
	if p, ok := l.passing[pattern]; ok {
		return p.level, true
	}
	level, ok := l.lasting[pattern]
	return level, ok
}

// set changes the level of pattern, for d or, if d is 0, for good.
func (l *levels) set(pattern string, level slog.Level, d time.Duration) error {
	if err := checkPattern(pattern); err != nil {
		return err
	}
	if d < 0 {
		return fmt.Errorf("the duration %v is negative: use 0 for good", d)
	}
	l.mu.Lock()
	defer l.mu.Unlock()

	if l.closed {
		return ErrClosed
	}
	if old := l.passing[pattern]; old != nil {
		old.timer.Stop()
		delete(l.passing, pattern)
	}

	if d == 0 {
		l.lasting[pattern] = level
	} else {
		p := &passing{level: level}
		p.timer = time.AfterFunc(d, func() { l.expire(pattern, p) })
		l.passing[pattern] = p
	}

	l.apply()
	return nil
}

// replace exchanges what holds for good.
func (l *levels) replace(base slog.Level, patterns map[string]slog.Level) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lasting = map[string]slog.Level{"*": base}
	maps.Copy(l.lasting, patterns)
	l.apply()
}

func (l *levels) expire(pattern string, p *passing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.passing[pattern] == p { // not replaced meanwhile
		delete(l.passing, pattern)
		l.apply()
	}
}

func (l *levels) apply() {
	for name, v := range l.components {
		v.Set(l.of(name))
	}
}

// close stops the timers.
func (l *levels) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, p := range l.passing {
		p.timer.Stop()
	}
}
