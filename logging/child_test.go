package logging_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/logging/sink/httpjson"
)

// children are the programs that this test binary becomes with LOGGING_CHILD
// in its environment: processes to kill, and to run side by side.
var children = map[string]func() error{
	"ship": childShip,
	"many": childMany,
	"term": childTerm,
	"pack": childPack,
}

func TestMain(m *testing.M) {
	if run, ok := children[os.Getenv("LOGGING_CHILD")]; ok {
		if err := run(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// child returns a command that runs the program called name.
func child(t *testing.T, name string, env ...string) *exec.Cmd {
	t.Helper()
	cmd := testenv.Self()
	cmd.Env = append(append(os.Environ(), "LOGGING_CHILD="+name), env...)
	cmd.Stderr = os.Stderr
	return cmd
}

const childBatchBytes = 8 << 10

// childShip logs numbers from LOGGING_FROM on, ships them, and prints each
// number after its log call returned.
func childShip() error {
	from, err := strconv.Atoi(os.Getenv("LOGGING_FROM"))
	if err != nil {
		return err
	}
	sink, err := httpjson.New(&httpjson.Options{URL: os.Getenv("LOGGING_URL"), IDField: "event_id"})
	if err != nil {
		return err
	}
	logs, err := logging.New(&logging.Options{File: logging.FileOptions{Path: os.Getenv("LOGGING_PATH"), MaxSegmentBytes: 64 << 10}, Sink: sink, OnError: childError, Ship: logging.ShipperOptions{
		MaxBatchBytes: childBatchBytes, Interval: time.Millisecond, Retry: logging.Retry{Base: time.Millisecond, Max: 20 * time.Millisecond},
	}})
	if err != nil {
		return err
	}
	go logs.Run(context.Background())
	log := logs.Logger("child")
	for n := from; ; n++ {
		if err := log.Handler().Handle(context.Background(), record("line", "n", n, "text", "some words to fill the line a little")); err != nil {
			return err
		}
		if _, err := fmt.Println(n); err != nil {
			return err
		}
	}
}

// childError leaves what went wrong for the parent to read.
func childError(err error) {
	f, ferr := os.OpenFile(os.Getenv("LOGGING_PATH")+".errors", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if ferr != nil {
		panic(ferr)
	}
	defer f.Close()
	fmt.Fprintln(f, err)
}

// acknowledged reads the numbers that a child printed until it ended.
func acknowledged(out *bufio.Scanner, first func()) (numbers []int) {
	for out.Scan() {
		n, err := strconv.Atoi(out.Text())
		if err != nil {
			break // cut short by the kill
		}
		if numbers = append(numbers, n); len(numbers) == 1 {
			first()
		}
	}
	return numbers
}
