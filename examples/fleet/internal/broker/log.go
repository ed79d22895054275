package broker

import (
	"fmt"
	"log/slog"
)

// serverLog hands the server's own log on. Its notices are many and say little:
// they are debug lines here.
type serverLog struct {
	log   *slog.Logger
	fatal chan<- string // what keeps the server from starting
}

func (l serverLog) Noticef(format string, v ...any) { l.log.Debug("server", "text", text(format, v)) }

func (l serverLog) Warnf(format string, v ...any) { l.log.Warn("server", "text", text(format, v)) }

func (l serverLog) Errorf(format string, v ...any) { l.log.Error("server", "text", text(format, v)) }

func (l serverLog) Debugf(format string, v ...any) { l.log.Debug("server", "text", text(format, v)) }
func (l serverLog) Tracef(string, ...any)          {}

func (l serverLog) Fatalf(format string, v ...any) {
	l.Errorf(format, v...)
	select {
	case l.fatal <- text(format, v):
	default: // the first one says why
	}
}

func text(format string, v []any) string { return fmt.Sprintf(format, v...) }
