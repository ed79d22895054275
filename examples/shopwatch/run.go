package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/notify"
)

// stage is work in the background with an end of its own.
type stage struct {
	name string
	stop context.CancelFunc
	done chan error
}

// start begins a stage. It outlives ctx, whose end is only the wish to stop:
// stages end one after the other. failed is told if it ends by itself.
func start(ctx context.Context, name string, failed chan<- error, work func(context.Context) error) *stage {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	st := &stage{name: name, stop: stop, done: make(chan error, 1)}

	go func() {
		err := work(ctx)
		st.done <- err
		if ctx.Err() == nil {
			if err == nil {
				err = errors.New("ended by itself")
			}
			select {
			case failed <- fmt.Errorf("%s: %w", name, err):
			default: // another one failed first
			}
		}
	}()

	return st
}

// end stops the stage and waits for it. A part that is not there ends at once.
func (st *stage) end() error {
	if st == nil {
		return nil
	}
	st.stop()
	if err := <-st.done; err != nil {
		return fmt.Errorf("%s: %w", st.name, err)
	}
	return nil
}

// run works until ctx ends or a part fails, and then stops in the order in
// which things flow: no new pages, those on their way are stored, what they
// gave goes to the outbox, then the log is shipped to its last line.
func (s *service) run(ctx context.Context) error {
	failed := make(chan error, 1)
	shipping := start(ctx, "logging", failed, s.logs.Run)
	var delivering, leaving, recognising, profiling *stage
	if s.hub != nil {
		delivering = start(ctx, "notify", failed, s.hub.Run)
	}
	if s.egress.run != nil {
		leaving = start(ctx, "tor", failed, s.egress.run)
	}
	if s.auth != nil {
		recognising = start(ctx, "auth", failed, s.auth.Run)
	}
	if s.profiling != nil {
		profiling = start(ctx, "profiling", failed, s.profiling.Run)
	}

	serving := start(ctx, "server", failed, func(context.Context) error { return s.server.Serve() })
	following := start(ctx, "config", failed, s.settings.Run)
	reloading := start(ctx, "reload", failed, s.reload)
	refreshing := start(ctx, "secrets", failed, s.refreshSecrets)
	checking := start(ctx, "health", failed, s.health.Run)
	watching := start(ctx, "watch", failed, s.watcher.Run)

	var errs []error
	select {
	case <-ctx.Done():
		s.log.InfoContext(ctx, "service stops", "cause", context.Cause(ctx).Error())
	case err := <-failed:
		s.log.ErrorContext(ctx, "a part of the service ended", "error", err)
		errs = append(errs, err)
	}

	bound := s.settings.Get().ShutdownTimeout
	s.server.Stopping()
	errs = append(errs, watching.end(), reloading.end(), refreshing.end(), following.end(), checking.end())
	errs = append(errs, s.shutdownServer(ctx, part(bound, serverPart)), serving.end())
	errs = append(errs, recognising.end(), profiling.end(), leaving.end(), delivering.end())
	s.log.InfoContext(ctx, "service stopped")
	errs = append(errs, shipping.end(), s.close())
	return errors.Join(errs...)
}

// reload reads the settings again at each SIGHUP. Files are followed without it;
// variables of the process stay as they are.
func (s *service) reload(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.hangup:
		}
		if err := s.settings.Reload(ctx); err != nil {
			s.log.ErrorContext(ctx, "settings not reloaded: the last good ones hold", "error", err)
			continue
		}
		s.log.InfoContext(ctx, "settings reloaded")
	}
}

// waits reports whether err says no more than that lines or messages are on
// disk for the next start, as a receiver is away: that is told, and is no failure
// of the service. Every error of a joined one must be of that kind.
func waits(err error) bool {
	switch e := any(err).(type) { // each error of the tree by itself
	case *notify.Error:
		return errors.Is(e, notify.ErrRemaining) && !errors.Is(e, notify.ErrLost)
	case *logging.Error:
		return errors.Is(e, logging.ErrRemaining)
	case interface{ Unwrap() []error }:
		return !slices.ContainsFunc(e.Unwrap(), func(err error) bool { return !waits(err) })
	case interface{ Unwrap() error }:
		return waits(e.Unwrap())
	}
	return false
}
