package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	deviceplugin "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// gpus is a device plugin that offers imaginary devices: pods that ask for GPUs are scheduled, counted
// and refused exactly as on a GPU node, and find the ids of theirs in NVIDIA_VISIBLE_DEVICES.
type gpus struct {
	deviceplugin.UnimplementedDevicePluginServer
	count int
	gone  chan struct{} // receives when the kubelet hung up
}

// runFakeGPU offers the devices until ctx ends or the kubelet goes away. A restarted kubelet has
// forgotten its plugins; the supervisor then starts this program again, which registers anew.
func runFakeGPU(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("fakegpu", flag.ExitOnError)
	dir := flags.String("dir", deviceplugin.DevicePluginPath, "folder of the kubelet's device-plugin sockets")
	resource := flags.String("resource", "nvidia.com/gpu", "extended resource to offer")
	count := flags.Int("count", 1, "devices to offer")
	if err := flags.Parse(args); err != nil {
		return err
	}

	// A kubelet that starts clears the folder and then makes its own socket: ours must come after that.
	kubeletSocket := filepath.Join(*dir, "kubelet.sock")
	if err := waitForFile(ctx, kubeletSocket); err != nil {
		return err
	}
	const endpoint = "fakegpu.sock"
	socket := filepath.Join(*dir, endpoint)
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove old socket: %w", err)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return fmt.Errorf("serve device plugin: %w", err)
	}
	plugin := &gpus{count: *count, gone: make(chan struct{}, 1)}
	server := grpc.NewServer()
	deviceplugin.RegisterDevicePluginServer(server, plugin)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer server.Stop()

	if err := register(ctx, kubeletSocket, endpoint, *resource); err != nil {
		return err
	}
	fmt.Printf("registered %d x %s\n", *count, *resource)
	select {
	case <-ctx.Done():
		return nil
	case err := <-served:
		return fmt.Errorf("serve device plugin: %w", err)
	case <-plugin.gone:
		return errors.New("the kubelet hung up")
	}
}

func waitForFile(ctx context.Context, path string) error {
	for {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func register(ctx context.Context, kubeletSocket, endpoint, resource string) error {
	conn, err := grpc.NewClient("unix://"+kubeletSocket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("dial kubelet at %s: %w", kubeletSocket, err)
	}
	defer conn.Close()
	_, err = deviceplugin.NewRegistrationClient(conn).Register(ctx, &deviceplugin.RegisterRequest{
		Version: deviceplugin.Version, Endpoint: endpoint, ResourceName: resource,
	})
	if err != nil {
		return fmt.Errorf("register %s with kubelet at %s: %w", resource, kubeletSocket, err)
	}
	return nil
}

func (g *gpus) GetDevicePluginOptions(context.Context, *deviceplugin.Empty) (*deviceplugin.DevicePluginOptions, error) {
	return &deviceplugin.DevicePluginOptions{}, nil
}

func (g *gpus) ListAndWatch(_ *deviceplugin.Empty, stream deviceplugin.DevicePlugin_ListAndWatchServer) error {
	var list deviceplugin.ListAndWatchResponse
	for i := range g.count {
		list.Devices = append(list.Devices, &deviceplugin.Device{ID: fmt.Sprintf("fake-gpu-%d", i), Health: deviceplugin.Healthy})
	}
	if err := stream.Send(&list); err != nil {
		return err
	}
	<-stream.Context().Done()
	select {
	case g.gone <- struct{}{}:
	default:
	}
	return nil
}

func (g *gpus) Allocate(_ context.Context, request *deviceplugin.AllocateRequest) (*deviceplugin.AllocateResponse, error) {
	var response deviceplugin.AllocateResponse
	for _, container := range request.ContainerRequests {
		response.ContainerResponses = append(response.ContainerResponses, &deviceplugin.ContainerAllocateResponse{
			Envs: map[string]string{"NVIDIA_VISIBLE_DEVICES": strings.Join(container.DevicesIds, ",")},
		})
	}
	return &response, nil
}
