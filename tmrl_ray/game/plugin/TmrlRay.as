// The game's side of tmrl_ray's connection: a plugin for TMInterface 2.1 that lets one client drive the game over TCP.
//
// It speaks the protocol of the public Linesight plugin, message for message (tmrl_ray/game/protocol.py describes it),
// and improves on it where a client cannot be hurt by that:
//   - a new client takes the place of one that died while the game waited for it, also during that wait;
//   - while nothing comes for a while, waiting no longer costs a whole core;
//   - a picture may be asked for in the call of another picture;
//   - when a map could not be loaded, the greeting is sent once more, in the menus;
//   - analog steering (SET_ANALOG_STEER).
//
// Install: see README.md beside this file. The port is TMInterface's variable custom_port, 8478 when it is not set.

const string HOST = "127.0.0.1";
const uint16 DEFAULT_PORT = 8478;
const uint DEFAULT_TIMEOUT_MS = 2000;
// After this long without a byte, wait for the next one by sleeping instead of spinning.
const uint64 SPIN_MS = 100;
// A map that is still not there in the menus after this long is taken for one that cannot be loaded.
const uint64 MAP_LOAD_MS = 20000;
// Payloads up to this length fit into a socket's receive buffer, so that all of one can be waited for.
const uint MAX_AWAITED_BYTES = 32768;
const int MAX_STEER = 65536;
const int STEER_PROBE = 0x7FFFFFFF;

enum MessageType {
    RUN_STEP_SYNC = 1,
    CHECKPOINT_COUNT_CHANGED_SYNC = 2,
    LAP_COUNT_CHANGED_SYNC = 3,
    REQUESTED_FRAME_SYNC = 4,
    ON_CONNECT_SYNC = 5,
    SET_SPEED = 6,
    REWIND_TO_STATE = 7,
    REWIND_TO_CURRENT_STATE = 8,
    GET_SIMULATION_STATE = 9,
    SET_INPUT_STATE = 10,
    GIVE_UP = 11,
    PREVENT_SIMULATION_FINISH = 12,
    SHUTDOWN = 13,
    EXECUTE_COMMAND = 14,
    SET_TIMEOUT = 15,
    RACE_FINISHED = 16,
    REQUEST_FRAME = 17,
    RESET_CAMERA = 18,
    SET_ON_STEP_PERIOD = 19,
    UNREQUEST_FRAME = 20,
    TOGGLE_INTERFACE = 21,
    IS_IN_MENUS = 22,
    GET_INPUTS = 23,
    SET_ANALOG_STEER = 100
}

Net::Socket@ listener = null;
Net::Socket@ client = null;
bool greetingDue = false;
uint timeoutMs = DEFAULT_TIMEOUT_MS;
int stepPeriodMs = 10;
int frameWidth = 0;
int frameHeight = 0;
bool steersAnalog = false;
// When a map was asked for in the menus; 0 when none is awaited.
uint64 mapAskedAt = 0;

PluginInfo@ GetPluginInfo() {
    PluginInfo info;
    info.Name = "tmrl_ray";
    info.Author = "tmrl_ray";
    info.Version = "1.0";
    info.Description = "Lets tmrl_ray drive the game over TCP (variable custom_port, default 8478)";
    return info;
}

void Main() {
    RegisterVariable("custom_port", 0.0);
    RegisterCustomCommand("tmrl_listen", "Listen for tmrl_ray on custom_port", OnListenCommand);
    // The launcher's commands, which may set the port, are queued: queue behind them.
    CommandList start;
    start.Content = "tmrl_listen";
    start.Process();
}

void OnListenCommand(int fromTime, int toTime, const string&in commandLine, const array<string>&in args) {
    uint16 port = uint16(GetVariableDouble("custom_port"));
    if (port == 0) {
        port = DEFAULT_PORT;
    }
    DropClient();
    @listener = Net::Socket();
    if (listener.Listen(HOST, port)) {
        log("tmrl_ray: listening on " + HOST + ":" + port, Severity::Success);
    } else {
        @listener = null;
        log("tmrl_ray: cannot listen on port " + port + ". Does another game or plugin have it?", Severity::Error);
    }
}

void OnDisabled() {
    DropClient();
    @listener = null;
}

void DropClient() {
    if (@client !is null) {
        // It may have died while the game was paused for it.
        GetSimulationManager().SetSpeed(1);
    }
    @client = null;
    greetingDue = false;
    timeoutMs = DEFAULT_TIMEOUT_MS;
    frameWidth = 0;
    frameHeight = 0;
    mapAskedAt = 0;
}

// Take a new client, if there is one, in the place of the old.
bool AcceptClient(uint waitMs) {
    Net::Socket@ newcomer = listener.Accept(waitMs);
    if (@newcomer is null) {
        return false;
    }
    DropClient();
    @client = newcomer;
    client.NoDelay = true;
    greetingDue = true;
    log("tmrl_ray: client connected from " + client.RemoteIP);
    return true;
}

void Render() {
    if (@listener is null) {
        return;
    }
    AcceptClient(0);
    if (@client is null) {
        return;
    }
    if (mapAskedAt != 0 && Time::Now - mapAskedAt > MAP_LOAD_MS) {
        mapAskedAt = 0;
        greetingDue = GetCurrentGameState() == TM::GameState::Menus;
    }
    if (greetingDue && GetCurrentGameState() != TM::GameState::StartUp) {
        greetingDue = false;
        client.Write(int(MessageType::ON_CONNECT_SYNC));
        WaitForAnswer(MessageType::ON_CONNECT_SYNC);
    }
    if (@client !is null && frameWidth > 0) {
        vec2 size(frameWidth, frameHeight);
        frameWidth = 0;
        frameHeight = 0;
        const array<uint8>@ pixels = Graphics::CaptureScreenshot(size);
        client.Write(int(MessageType::REQUESTED_FRAME_SYNC));
        client.Write(pixels);
        WaitForAnswer(MessageType::REQUESTED_FRAME_SYNC);
    }
}

void OnRunStep(SimulationManager@ simManager) {
    mapAskedAt = 0;
    if (@client is null || greetingDue) {
        return;
    }
    if (simManager.RaceTime % stepPeriodMs == 0 || simManager.TickTime > simManager.RaceTime) {
        client.Write(int(MessageType::RUN_STEP_SYNC));
        client.Write(int(simManager.RaceTime));
        WaitForAnswer(MessageType::RUN_STEP_SYNC);
    }
}

void OnCheckpointCountChanged(SimulationManager@ simManager, int current, int target) {
    Announce(MessageType::CHECKPOINT_COUNT_CHANGED_SYNC, current, target);
}

void OnLapCountChanged(SimulationManager@ simManager, int current, int target) {
    Announce(MessageType::LAP_COUNT_CHANGED_SYNC, current, target);
}

void Announce(MessageType call, int current, int target) {
    if (@client is null || greetingDue) {
        return;
    }
    client.Write(int(call));
    client.Write(current);
    client.Write(target);
    WaitForAnswer(call);
}

// Serve the client until it answers the call, leaves, is replaced, or keeps us waiting too long.
void WaitForAnswer(MessageType call) {
    const uint64 began = Time::Now;
    uint64 lastByteAt = began;
    while (true) {
        if (client.Available >= 4) {
            lastByteAt = Time::Now;
            const int type = client.ReadInt32();
            if (type == int(call)) {
                return;
            }
            if (!Handle(type)) {
                return;
            }
            continue;
        }
        const uint64 now = Time::Now;
        if (now - began > timeoutMs) {
            log("tmrl_ray: client dropped, no answer within " + timeoutMs + " ms", Severity::Warning);
            DropClient();
            return;
        }
        // Waiting for a new client is also how to sleep for a millisecond.
        if (now - lastByteAt > SPIN_MS && AcceptClient(1)) {
            return;
        }
    }
}

// Wait until so many bytes of a message are there; drop a client that sends half of one.
bool Await(uint bytes) {
    if (bytes > MAX_AWAITED_BYTES) {
        return true;
    }
    const uint64 began = Time::Now;
    while (client.Available < bytes) {
        if (Time::Now - began > DEFAULT_TIMEOUT_MS) {
            log("tmrl_ray: client dropped in the middle of a message", Severity::Warning);
            DropClient();
            return false;
        }
    }
    return true;
}

// Length of what follows the id of a message, as far as it is fixed: the length itself where one follows.
uint PayloadBytes(int type) {
    switch (type) {
        case MessageType::SET_SPEED:
        case MessageType::REWIND_TO_STATE:
        case MessageType::SET_INPUT_STATE:
        case MessageType::EXECUTE_COMMAND:
        case MessageType::SET_TIMEOUT:
        case MessageType::SET_ON_STEP_PERIOD:
        case MessageType::TOGGLE_INTERFACE:
        case MessageType::SET_ANALOG_STEER:
            return 4;
        case MessageType::REQUEST_FRAME:
            return 8;
    }
    return 0;
}

// Do what a message says; return false when the client is gone.
bool Handle(int type) {
    if (!Await(PayloadBytes(type))) {
        return false;
    }
    SimulationManager@ sim = GetSimulationManager();
    switch (type) {
        case MessageType::SET_SPEED:
            sim.SetSpeed(client.ReadFloat());
            break;

        case MessageType::REWIND_TO_STATE:
            return RewindToState(sim);

        case MessageType::REWIND_TO_CURRENT_STATE:
            if (sim.InRace) {
                sim.RewindToState(sim.SaveState());
            }
            break;

        case MessageType::GET_SIMULATION_STATE: {
            SimulationState@ state = sim.SaveState();
            const array<uint8>@ data = state.ToArray();
            client.Write(int(data.Length));
            client.Write(data);
            break;
        }

        case MessageType::SET_INPUT_STATE:
            SetInputs(sim);
            break;

        case MessageType::GIVE_UP:
            if (sim.InRace) {
                sim.GiveUp();
            }
            break;

        case MessageType::PREVENT_SIMULATION_FINISH:
            if (sim.InRace) {
                sim.PreventSimulationFinish();
            }
            break;

        case MessageType::SHUTDOWN:
            log("tmrl_ray: client left");
            DropClient();
            return false;

        case MessageType::EXECUTE_COMMAND:
            return Execute();

        case MessageType::SET_TIMEOUT:
            timeoutMs = client.ReadUint32();
            break;

        case MessageType::RACE_FINISHED: {
            const bool finished = sim.PlayerInfo.RaceFinished || sim.TickTime > sim.RaceTime;
            client.Write(int(finished ? 1 : 0));
            break;
        }

        case MessageType::REQUEST_FRAME:
            frameWidth = client.ReadInt32();
            frameHeight = client.ReadInt32();
            if (frameWidth <= 0 || frameHeight <= 0) {
                log("tmrl_ray: no picture of " + frameWidth + "x" + frameHeight + " pixels", Severity::Warning);
                frameWidth = 0;
                frameHeight = 0;
            }
            break;

        case MessageType::RESET_CAMERA:
            sim.ResetCamera();
            break;

        case MessageType::SET_ON_STEP_PERIOD: {
            const int period = client.ReadInt32();
            if (period > 0) {
                stepPeriodMs = period;
            }
            break;
        }

        case MessageType::UNREQUEST_FRAME:
            frameWidth = 0;
            frameHeight = 0;
            break;

        case MessageType::TOGGLE_INTERFACE:
            ToggleRaceInterface(client.ReadInt32() > 0);
            break;

        case MessageType::IS_IN_MENUS:
            client.Write(int(GetCurrentGameState() == TM::GameState::Menus ? 1 : 0));
            break;

        case MessageType::GET_INPUTS: {
            const string inputs = sim.get_InputEvents().ToCommandsText();
            client.Write(int(inputs.Length));
            client.Write(inputs);
            break;
        }

        case MessageType::SET_ANALOG_STEER:
            SetAnalogSteer(sim, client.ReadInt32());
            break;

        default:
            // What follows may be its payload or the next message: read on.
            log("tmrl_ray: unknown message " + type, Severity::Warning);
            break;
    }
    return true;
}

bool RewindToState(SimulationManager@ sim) {
    const int length = client.ReadInt32();
    if (!LengthMakesSense(length)) {
        return false;
    }
    const array<uint8>@ data = client.ReadBytes(length);
    if (sim.InRace) {
        SimulationState state(data);
        sim.RewindToState(state);
    }
    return true;
}

bool Execute() {
    const int length = client.ReadInt32();
    if (!LengthMakesSense(length)) {
        return false;
    }
    const string command = client.ReadString(length);
    if (command.FindFirst("map ") == 0 && GetCurrentGameState() == TM::GameState::Menus) {
        mapAskedAt = Time::Now;
    }
    ExecuteCommand(command);
    return true;
}

bool LengthMakesSense(int length) {
    if (length < 0) {
        log("tmrl_ray: client dropped, it announced " + length + " bytes", Severity::Warning);
        DropClient();
        return false;
    }
    return Await(uint(length));
}

void SetInputs(SimulationManager@ sim) {
    const int left = client.ReadUint8() > 0 ? 1 : 0;
    const int right = client.ReadUint8() > 0 ? 1 : 0;
    const int up = client.ReadUint8() > 0 ? 1 : 0;
    const int down = client.ReadUint8() > 0 ? 1 : 0;
    if (!sim.InRace) {
        return;
    }
    if (steersAnalog) {
        steersAnalog = false;
        sim.SetInputState(InputType::Steer, 0);
    }
    sim.SetInputState(InputType::Left, left);
    sim.SetInputState(InputType::Right, right);
    sim.SetInputState(InputType::Up, up);
    sim.SetInputState(InputType::Down, down);
}

void SetAnalogSteer(SimulationManager@ sim, int steer) {
    if (steer == STEER_PROBE) {
        client.Write(int(MessageType::SET_ANALOG_STEER));
        return;
    }
    if (steer < -MAX_STEER || steer > MAX_STEER || !sim.InRace) {
        return;
    }
    steersAnalog = true;
    sim.SetInputState(InputType::Steer, steer);
}
