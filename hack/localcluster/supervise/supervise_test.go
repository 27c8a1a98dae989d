package supervise

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// eventually polls until the only program satisfies want; the limit is for a broken build, not a measurement.
func eventually(t *testing.T, client Client, what string, want func(Status) bool) Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		list, err := client.List(ctx)
		if err != nil {
			t.Fatalf("waiting until %s: %v", what, err)
		}
		if want(list[0]) {
			return list[0]
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestGroup(t *testing.T) {
	ctx := context.Background()
	logs := t.TempDir()
	group := &Group{LogDir: logs}
	if err := group.Start(Program{Name: "sleeper", Args: []string{"sh", "-c", "echo started; exec sleep 1000"}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { group.Stop("sleeper", syscall.SIGKILL) })

	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: group.Handler()}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	client := Client{Socket: socket}

	first := eventually(t, client, "it runs", func(s Status) bool { return s.PID != 0 })
	if err := syscall.Kill(first.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	second := eventually(t, client, "it was started again", func(s Status) bool { return s.PID != 0 && s.PID != first.PID })
	if second.Restarts != 1 || second.LastExit != "signal: killed" {
		t.Errorf("after a kill: %+v", second)
	}

	if err := client.Stop(ctx, "sleeper"); err != nil {
		t.Fatal(err)
	}
	stopped := group.List()[0]
	if !stopped.Stopped || stopped.PID != 0 {
		t.Errorf("after Stop: %+v", stopped)
	}
	if err := syscall.Kill(second.PID, 0); err != syscall.ESRCH {
		t.Errorf("the stopped process is still there: %v", err)
	}
	if err := client.Start(ctx, "sleeper"); err != nil {
		t.Fatal(err)
	}
	if err := client.Start(ctx, "sleeper"); err == nil {
		t.Error("a running program was started twice")
	}
	if err := client.Stop(ctx, "nobody"); err == nil {
		t.Error("an unknown program was stopped")
	}

	third := eventually(t, client, "it runs again", func(s Status) bool { return s.PID != 0 })
	if third.Restarts != 1 {
		t.Errorf("a start on request counts as a restart: %+v", third)
	}
	eventually(t, client, "its log has what it said", func(Status) bool {
		log, err := os.ReadFile(filepath.Join(logs, "sleeper.log"))
		return err == nil && len(log) > 0
	})
}

func TestStartFails(t *testing.T) {
	group := &Group{LogDir: t.TempDir()}
	if err := group.Start(Program{Name: "x", Args: []string{"/does/not/exist"}}); err == nil {
		t.Error("no error for a missing program")
	}
	if list := group.List(); len(list) != 0 {
		t.Errorf("a program that could not start is listed: %+v", list)
	}
}
