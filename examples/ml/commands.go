package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/svcblocks/svcblocks/examples/ml/internal/dataset"
	"github.com/svcblocks/svcblocks/examples/ml/internal/model"
	"github.com/svcblocks/svcblocks/examples/ml/internal/serving"
	"github.com/svcblocks/svcblocks/examples/ml/tfserving"
	"github.com/svcblocks/svcblocks/internal/safehttp"
)

func (s Settings) data() (*dataset.Data, error) {
	if s.In == "" {
		return dataset.Generate(s.Rows, uint64(s.Seed)), nil
	}
	return dataset.Read(s.In)
}

// trainModel trains on the rows for training, judges by those held out, and
// saves the next version.
func trainModel(ctx context.Context, s Settings, stdout io.Writer, log *slog.Logger) error {
	data, err := s.data()
	if err != nil {
		return err
	}
	often, share, err := data.Majority()
	if err != nil {
		return err
	}

	started := time.Now()
	m, err := model.Train(ctx, data, model.Options{Steps: s.Steps, Seed: s.Seed, Logger: log})
	if err != nil {
		return err
	}

	took := time.Since(started)
	accuracy, err := m.Accuracy(data.Test)
	if err != nil {
		return err
	}
	loss, err := m.LogLoss(data.Test)
	if err != nil {
		return err
	}

	version, err := m.Save(s.base())
	if err != nil {
		return err
	}

	_, _ = fmt.Fprintf(stdout, "trained on %d rows in %.1fs; held-out accuracy %.3f on %d rows; saved %s version %d\n",
		data.Train.Len(), took.Seconds(), accuracy, data.Test.Len(), s.base(), version)
	_, _ = fmt.Fprintf(stdout, "log loss %.3f; who always says %q is right for %.3f of them\n", loss, often, share)
	return nil
}

// serve answers until ctx ends.
func serve(ctx context.Context, s Settings, stdout io.Writer, log *slog.Logger) error {
	return serveWhile(ctx, s, log, func(ctx context.Context, url string) error {
		_, _ = fmt.Fprintf(stdout, "serving %s/v1/models/%s (Ctrl-C ends it)\n", url, s.Name)
		<-ctx.Done()
		return nil
	})
}

// serveWhile serves until work returns.
func serveWhile(ctx context.Context, s Settings, log *slog.Logger, work func(ctx context.Context, url string) error) error {
	hosts, err := safehttp.NewHosts("hosts", append([]string{s.Listen}, s.Hosts...)...)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}

	models, err := serving.Open(ctx, s.Name, s.base(), log)
	if err != nil {
		return err
	}

	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.Listen)
	if err != nil {
		return fmt.Errorf("serve: %w (choose another address with -listen; port 0 takes a free one)", err)
	}

	server := &http.Server{
		Handler: hosts.Handler(models.Handler()), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	served, polled := make(chan error, 1), make(chan error, 1)
	go func() {
		err := server.Serve(listener)
		cancel(err)
		served <- err
	}()
	go func() { polled <- models.Run(ctx, s.Poll) }()

	err = work(ctx, "http://"+listener.Addr().String())
	cancel(nil)
	stop, done := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer done()
	err = errors.Join(err, server.Shutdown(stop), <-polled)
	if ended := <-served; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

// ask sends the held-out rows to the server, one at a time, and compares.
func ask(ctx context.Context, s Settings, stdout io.Writer, _ *slog.Logger) error {
	data, err := s.data()
	if err != nil {
		return err
	}
	client, err := tfserving.New(s.URL, nil)
	if err != nil {
		return err
	}

	m := tfserving.Model{Name: s.Name}
	// A server that learned from other columns would answer nonsense.
	if err := agree(ctx, client, m, data); err != nil {
		return err
	}

	times := make([]time.Duration, data.Test.Len())
	right := 0
	for i, row := range data.Test.X {
		started := time.Now()
		answer, err := client.Predict(ctx, m, tfserving.Request{Instances: [][]float32{row}})
		if err != nil {
			return err
		}

		times[i] = time.Since(started)
		p, err := tfserving.Matrix(answer)
		if err != nil {
			return err
		}
		if best := slices.Index(p[0], slices.Max(p[0])); best == int(data.Test.Y[i]) {
			right++
		}
	}

	slices.Sort(times)
	at := func(share float64) time.Duration { return times[int(share*float64(len(times)-1))] }
	_, _ = fmt.Fprintf(stdout, "asked %d times: accuracy %.3f, p50 %v, p99 %v\n",
		len(times), float64(right)/float64(len(times)), at(0.5).Round(time.Microsecond), at(0.99).Round(time.Microsecond))
	return nil
}

// agree compares the server's features with the data's, if it tells them: their
// names, and by which run they were scaled.
func agree(ctx context.Context, client *tfserving.Client, m tfserving.Model, data *dataset.Data) error {
	metadata, err := client.Metadata(ctx, m)
	if err != nil {
		return err
	}

	own, _ := metadata["svcblocks"].(map[string]any)
	names, ok := own["features"].([]any)
	if !ok {
		return nil // another server
	}
	if !slices.EqualFunc(names, data.Features, func(a any, b string) bool { return a == b }) {
		return fmt.Errorf("ask: the model was trained on the features %q, the data has %q: name the folder that it was trained on with -in, or train again", names, data.Features)
	}

	// Made-up data has none, and neither has a model that was trained on it.
	learned, _ := own["fingerprint"].(string)
	if learned != "" && data.Fingerprint != "" && learned != data.Fingerprint {
		return errors.New("ask: the model was trained on rows that another run of features scaled, so its answers would be wrong: name the folder that it was trained on with -in, or train again")
	}
	return nil
}

// demo does all of it in one process, and keeps nothing if -models is not
// given another folder than the default.
func demo(ctx context.Context, s Settings, stdout io.Writer, log *slog.Logger) (err error) {
	if s.Models == defaults().Models {
		if s.Models, err = os.MkdirTemp("", "ml-demo-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(s.Models)) }()
	}
	s.Listen = "127.0.0.1:0"
	if err := trainModel(ctx, s, stdout, log); err != nil {
		return err
	}
	return serveWhile(ctx, s, log, func(ctx context.Context, url string) error {
		_, _ = fmt.Fprintf(stdout, "served at %s/v1/models/%s\n", url, s.Name)
		s.URL = url
		return ask(ctx, s, stdout, log)
	})
}
